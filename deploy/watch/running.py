"""The dashboards of what runs: an overview, the way from an event to fresh weights, serving, and experiments."""

from deploy.watch.panels import Dashboard, Panel
from deploy.watch.queries import both, mean, quantile, rate

OVERVIEW = Dashboard(
    "sml-overview",
    "Overview",
    {
        "Is all well?": [
            Panel(
                "Alerts firing",
                "How many alerts fire; Prometheus lists them, and each names its panel and its page of the runbook.",
                {"": 'count(ALERTS{alertstate="firing"}) or vector(0)'},
                "none",
                steps=[(1, "red")],
                kind="value",
                width=3,
            ),
            Panel(
                "Processes up",
                "Joiner, learner and servers that answer.",
                {"": 'count(up{job=~"joiner|learner|server"} == 1)'},
                "none",
                ["ProcessDown", "NoServer"],
                kind="value",
                width=3,
            ),
            Panel(
                "Learned a second",
                "Examples a second, each predicted before it is learned.",
                {"": rate("sml_learner_examples_total")},
                "cps",
                kind="value",
                width=3,
            ),
            Panel(
                "Gain now",
                "Share of the log loss of always predicting the click rate that the model saves, over the newest 10,000 examples.",
                {"": 'sml_learner_gain_ratio{baseline="base_rate", over="10k"}'},
                "percentunit",
                ["NothingLearned"],
                kind="value",
                width=3,
            ),
            Panel(
                "Weights' age now",
                "Seconds since the oldest weights in service were published: below one while traffic flows.",
                {"": "max(sml_server_weights_age_seconds)"},
                "s",
                ["WeightsStale"],
                [(10, "yellow"), (300, "red")],
                kind="value",
                width=3,
            ),
            Panel(
                "Predicted a second",
                "Candidates predicted a second, by all servers.",
                {"": rate("sml_server_candidates_total")},
                "cps",
                kind="value",
                width=3,
            ),
            Panel(
                "Prediction, 99 % below",
                "Time to encode and predict all candidates of a request.",
                {"": quantile(0.99, "sml_server_predict_seconds")},
                "s",
                ["PredictionsSlow"],
                [(0.05, "yellow"), (0.1, "red")],
                kind="value",
                width=3,
            ),
            Panel(
                "Held now",
                "Whether servers stay on older weights because newer versions are held: 0 is good.",
                {"": "max(sml_server_weights_held)"},
                "none",
                ["VersionsHeld"],
                [(1, "red")],
                kind="value",
                width=3,
            ),
        ],
        "Over time": [
            Panel(
                "Events, examples, steps",
                "Impressions that were decided, examples that were written, and examples that were learned: the three should lie together.",
                {
                    "decided": rate('sml_joiner_impressions_total{fate="decided"}'),
                    "written": rate("sml_joiner_examples_total"),
                    "learned": rate("sml_learner_examples_total"),
                },
                "cps",
            ),
            Panel(
                "Quality",
                "Gain over the base rate and over the wide term alone, over the newest 10,000 examples.",
                {"over the {{baseline}}": 'sml_learner_gain_ratio{over="10k"}'},
                "percentunit",
                ["NothingLearned"],
            ),
            Panel(
                "Which process answers",
                "1 for a process that answers Prometheus. Servers go on without the others, with the weights that they have.",
                {"{{job}} {{instance}}": 'up{job=~"joiner|learner|server"}'},
                "none",
                ["ProcessDown", "NoServer"],
            ),
        ],
    },
)

PIPELINE = Dashboard(
    "sml-pipeline",
    "Pipeline and freshness",
    {
        "How fresh is it?": [
            Panel(
                "Lag in records",
                "Records in the log that are not read yet. It should come back to 0.",
                {"learner": "sml_learner_lag_records", "joiner, {{topic}}": "sum by (topic) (sml_joiner_lag_records)"},
                alerts=["LearnerBehind", "JoinerBehind"],
            ),
            Panel(
                "Lag in time",
                "How far behind the log the learner is, and how far behind the newest event the watermark that decides labels.",
                {"learner": "sml_learner_lag_seconds", "watermark": "sml_joiner_watermark_lag_seconds"},
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
                {"{{input}}, {{source}}": "sum by (input, source) (sml_joiner_late_events_total)"},
                alerts=["LateEventsRising"],
            ),
            Panel(
                "Impressions waiting",
                "Impressions whose label is not decided: the traffic of one click window and its lateness.",
                {"waiting": "sml_joiner_waiting_impressions"},
                alerts=["MuchWaits"],
            ),
            Panel(
                "Memory of what waits",
                "What waits, or may still matter, by what it may be at most. At 1 the joiner ends.",
                {"of most_waiting": "sml_joiner_waiting_bytes / sml_joiner_waiting_limit_bytes"},
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
                "Features that no field is named after, values that were forgotten, and examples left out for them or as other arms'.",
                {
                    "unknown features": "sml_learner_unknown_features",
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
                "Age of the newest checkpoint: what a restart learns again. Time to write one.",
                {"age": "sml_learner_checkpoint_age_seconds", "time to write": f"{mean('sml_learner_checkpoint_seconds')} or vector(0)"},
                "s",
                ["CheckpointFailing"],
                [(300, "red")],
            ),
            Panel(
                "Troubles",
                "Checkpoints that could not be written, and times that the log was away. Both should stay where they are.",
                {"checkpoints failed": "sml_learner_checkpoint_failures_total", "log away": "sml_learner_reconnects_total"},
                alerts=["CheckpointFailing"],
            ),
        ],
        "Is the promise kept?": [
            Panel(
                "Heartbeats",
                "How long 95 % of the heartbeats take from the joiner to a server, and in each hop. One is sent every second, even in silence, "
                "and arrives once all before it is in service. Two processes' clocks differ by the last line at least.",
                {
                    "the whole way": quantile(0.95, "sml_follower_heartbeat_seconds"),
                    "{{hop}}": quantile(0.95, "sml_follower_heartbeat_hop_seconds", "hop"),
                    "clocks differ by": "max(sml_follower_clock_skew_seconds)",
                },
                "s",
                steps=[(1, "red")],
            ),
            Panel(
                "Late heartbeats",
                "Share of the heartbeats that took more than a second, or have not arrived. The objective is 5 % in 30 days.",
                {
                    "5 minutes": "sml:heartbeats_late:ratio5m",
                    "an hour": "sml:heartbeats_late:ratio1h",
                    "3 days": "sml:heartbeats_late:ratio3d",
                    "30 days": "sml:heartbeats_late:ratio30d",
                },
                "percentunit",
                ["FreshnessBurns"],
                [(0.05, "red")],
            ),
        ],
    },
)
