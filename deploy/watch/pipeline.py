"""The dashboard of the way from an event to fresh weights."""

from deploy.watch.panels import Dashboard, Panel
from deploy.watch.queries import both, mean, quantile, rate

PIPELINE = Dashboard(
    "sml-pipeline",
    "Pipeline and freshness",
    {
        "How fresh is it?": [
            Panel(
                "Lag in records",
                "Records in the log that are not read yet. It should come back to 0. Though no learner answers, the joiner and the servers "
                "tell what was written in five minutes and is not in service.",
                {
                    "learner": "sml_learner_lag_records",
                    "joiner, {{topic}}": "sum by (topic) (sml_joiner_lag_records)",
                    "written in 5 minutes and not in service": "clamp_min(sum(increase(sml_joiner_examples_total[5m])) "
                    "- max(delta(sml_server_weights_examples[5m])), 0)",
                },
                alerts=["LearnerBehind", "JoinerBehind"],
            ),
            Panel(
                "Lag in time",
                "How far behind the log the learner is, and how far behind the newest event the watermark that decides labels. "
                "The age of the weights in service rises though no learner answers.",
                {
                    "learner": "sml_learner_lag_seconds",
                    "watermark": "max(sml_joiner_watermark_lag_seconds)",
                    "weights in service": "max(sml_server_weights_age_seconds)",
                },
                "s",
                ["LearnerBehind"],
                [(60, "red")],
            ),
            Panel(
                "From published to served",
                "Time from a version's publication to its service.",
                both("sml_follower_freshness_seconds"),
                "s",
            ),
            Panel(
                "Versions",
                "Versions published and deltas applied a second; starts from a snapshot and gaps are rare.",
                {
                    "published": rate("sml_learner_versions_total"),
                    "applied by {{instance}}": rate("sml_follower_deltas_total", "instance"),
                    "started by {{instance}}": rate("sml_follower_starts_total", "instance"),
                    "gaps of {{instance}}": rate("sml_follower_gaps_total", "instance"),
                },
                "cps",
                ["DeltasMissing"],
            ),
            Panel(
                "Size of a version",
                "Bytes of deltas by versions: what each server reads ten times a second.",
                {"a version": f"{rate('sml_learner_published_bytes_total')} / {rate('sml_learner_versions_total')}"},
                "bytes",
            ),
            Panel(
                "Time to commit to the log",
                "Mean time to make and commit a version, and to commit examples and progress. When the log is slow, both rise.",
                {"learner": mean("sml_learner_publish_seconds"), "joiner": mean("sml_joiner_commit_seconds")},
                "s",
                ["LogSlow"],
                [(0.5, "red")],
            ),
            Panel(
                "Version and what it has learned",
                "The last version's number, and its newest event's age. The age is the click window and more where labels wait for it.",
                {"version": "sml_learner_version", "age of the newest event, s": "time() - sml_learner_trained_through_seconds"},
                "none",
            ),
        ],
        "Do clicks find their impressions?": [
            Panel(
                "Clicks by fate",
                "Counted, duplicate, late or orphan. Orphans have no impression in the log: are ids and keys the same in both topics?",
                {"{{fate}}": rate("sml_joiner_clicks_total", "fate")},
                "cps",
                ["ClicksMissing", "OrphanClicks"],
            ),
            Panel(
                "Delay of clicks",
                "Time from an impression to its click. Where 99 % is near [join] click_window, later clicks are lost.",
                both("sml_joiner_click_delay_seconds"),
                "s",
            ),
            Panel(
                "Late by input and source",
                "Late events by who wrote them: a wrong clock or a full queue shows as one source.",
                {
                    "{{input}}, {{source}}": 'sum by (input, source) (sml_joiner_late_events_total{source!=""}) or sum by (input, source) '
                    '(label_replace(sml_joiner_late_events_total{source=""}, "source", "unnamed", "source", ""))'
                },
                alerts=["LateEventsRising"],
            ),
            Panel(
                "Impressions waiting",
                "Impressions whose label is not decided: the traffic of one click window and its lateness.",
                {"waiting": "sum(sml_joiner_waiting_impressions)"},
                alerts=["MuchWaits"],
            ),
            Panel(
                "Memory of what waits",
                "What waits, or may still matter, by what it may be at most. At 1 the joiner ends.",
                {"of most_waiting": "max(sml_joiner_waiting_bytes / sml_joiner_waiting_limit_bytes)"},
                "percentunit",
                ["MuchWaits"],
                [(0.8, "red")],
            ),
            Panel(
                "Impressions by fate",
                "Decided, duplicate or forgotten; beside it what is odd, and watermarks written because a partition stood still.",
                {
                    "{{fate}}": rate("sml_joiner_impressions_total", "fate"),
                    "{{kind}}": rate("sml_joiner_oddities_total", "kind"),
                    "idle watermarks": f"{rate('sml_joiner_idle_watermarks_total')} or vector(0)",
                },
                "cps",
            ),
        ],
        "What was set aside?": [
            Panel(
                "Set aside by reason",
                "Records in dead-letters, by reason. `sml dead-letters list` shows them, `retry` writes them again.",
                {
                    "joiner, {{reason}}": "sum by (reason) (sml_joiner_dead_letters_total)",
                    "learner, {{reason}}": "sum by (reason) (sml_learner_dead_letters_total)",
                },
                alerts=["DeadLetters", "NotFinite", "MisroutedKeys", "RecordsSetAside"],
            ),
            Panel(
                "Share set aside",
                "Of the records that the joiner reads, by reason. Above 1 % RecordsSetAside fires.",
                {"{{reason}}": f"{rate('sml_joiner_dead_letters_total', 'reason')} / scalar({rate('sml_joiner_records_total')})"},
                "percentunit",
                ["RecordsSetAside"],
                [(0.01, "red")],
            ),
            Panel(
                "Features and forgotten values",
                "Features that no field knows, such as misspelt ones; values forgotten, examples left out for them or as other arms'.",
                {
                    "{{feature}}, in requests": "sum by (feature) (sml_server_ignored_features_total)",
                    "{{feature}}, in examples": "sum by (feature) (sml_learner_ignored_features_total)",
                    "forgotten": "sml_learner_forgotten_total",
                    "examples left out": "sml_learner_erased_examples_total",
                    "of other arms": "sml_learner_others_examples_total",
                },
            ),
        ],
        "Does the learner keep up, and can it come back?": [
            Panel(
                "Time of a step",
                "Time to learn the examples of one poll, and of one example on average.",
                {
                    **both("sml_learner_step_seconds"),
                    "an example": f"{rate('sml_learner_step_seconds_sum')} / {rate('sml_learner_examples_total')}",
                },
                "s",
                ["LearnerBehind"],
            ),
            Panel(
                "Checkpoint",
                "Age of the newest checkpoint: what a restart learns again. Time to write one, and to copy one to the archive.",
                {
                    "age": "sml_learner_checkpoint_age_seconds",
                    "time to write": f"{mean('sml_learner_checkpoint_seconds')} or vector(0)",
                    "time to archive": f"{mean('sml_learner_archive_seconds')} or vector(0)",
                },
                "s",
                ["CheckpointFailing"],
                [(300, "red")],
            ),
            Panel(
                "Troubles",
                "Checkpoints that could not be written, or not be copied to the archive, and times that the log was away. "
                "All should stay where they are.",
                {
                    "checkpoints failed": "sml_learner_checkpoint_failures_total",
                    "copies failed": "sml_learner_archive_failures_total",
                    "log away": "sml_learner_reconnects_total",
                },
                alerts=["CheckpointFailing"],
            ),
            Panel(
                "Negatives learned",
                "The share of the examples without a click that is learned: now, and without haste (keep_negatives).",
                {"{{of}}": "sml_learner_kept_negatives_ratio"},
                "percentunit",
                ["LoadShed"],
            ),
            Panel(
                "Left out",
                "Examples without a click that are not learned, a second.",
                {"left out": rate("sml_learner_left_out_examples_total")},
            ),
        ],
        "Is the way alive, though nothing else comes?": [
            Panel(
                "Heartbeats",
                "How long 95 % of the heartbeats take at most, and each of their hops: one comes each second, when all before is served. "
                "The whole way should stay below a second. Where clocks differ, the hops learn and serve are off by that.",
                {
                    "the whole way": quantile(0.95, "sml_follower_heartbeat_seconds"),
                    "{{hop}}": quantile(0.95, "sml_follower_heartbeat_hop_seconds", "hop"),
                    "clocks differ by": "max(sml_follower_clock_skew_seconds)",
                },
                "s",
                ["FreshnessBurns"],
                [(1, "red")],
            ),
            Panel(
                "Late heartbeats",
                "Share of the heartbeats that took more than a second or did not arrive: over 30 days it should be below 5 %.",
                {
                    "{{arm}}, 5 minutes": "sml:heartbeats_late:ratio_5m",
                    "{{arm}}, 6 hours": "sml:heartbeats_late:ratio_6h",
                    "{{arm}}, 30 days": "sml:heartbeats_late:ratio_30d",
                },
                "percentunit",
                ["FreshnessBurns"],
                [(0.05, "red")],
            ),
        ],
    },
)
