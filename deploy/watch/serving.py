"""The dashboards of the servers and of experiments."""

from deploy.watch.panels import Dashboard, Panel
from deploy.watch.queries import both, quantile, rate

REFUSED = 'sml_server_requests_total{status=~"4.."}'

SERVING = Dashboard(
    "sml-serving",
    "Serving",
    {
        "How well is it served?": [
            Panel(
                "Prediction by candidates",
                "What 99 % of requests take to be encoded and predicted, by how many candidates they have.",
                {"{{candidates}}": quantile(0.99, "sml_server_predict_seconds", "candidates")},
                "s",
                ["PredictionsSlow"],
                [(0.1, "red")],
            ),
            Panel(
                "Answer to /v1/predict",
                "Time from a request's arrival to its answer; with logged impressions it includes their way into the log.",
                both("sml_server_request_seconds", '{route="/v1/predict"}'),
                "s",
                ["PredictionsSlow"],
            ),
            Panel(
                "Requests",
                "Requests a second, by route.",
                {"{{route}}": rate("sml_server_requests_total", "route")},
                "reqps",
            ),
            Panel(
                "Errors",
                "Share of requests that fail by the server's fault (5xx), and by the client's (4xx).",
                {
                    "5xx": "sml:server_errors:ratio5m",
                    "4xx": f"({rate(REFUSED)} or vector(0)) / {rate('sml_server_requests_total')}",
                },
                "percentunit",
                ["ServerErrors"],
                [(0.01, "red")],
            ),
            Panel(
                "In flight",
                "Requests that are being answered. One that only grows: the server cannot keep up.",
                {"{{instance}}": "sml_server_in_flight_requests"},
            ),
            Panel(
                "Candidates and events",
                "Candidates predicted, and events written to the log, a second.",
                {"candidates": rate("sml_server_candidates_total"), "{{topic}}": rate("sml_server_events_total", "topic")},
                "cps",
            ),
        ],
        "Is what it serves right?": [
            Panel(
                "Calibration as served",
                "Predicted clicks of the impressions that were served, by the clicks that came back, over 30 minutes. 1 is right.",
                {"predicted by clicks": "sml:served_calibration:ratio30m"},
                alerts=["ServedCalibrationOff"],
                steps=[(1.2, "red")],
            ),
            Panel(
                "Calibration curve as served",
                "Share of the served impressions up to a probability, and of their clicks, which lie higher if the model can rank.",
                {
                    "impressions up to {{le}}": 'sum by (le) (sml_joiner_served_probability_bucket{of="impressions"}) '
                    '/ scalar(sum(sml_joiner_served_probability_count{of="impressions"}))',
                    "clicks up to {{le}}": 'sum by (le) (sml_joiner_served_probability_bucket{of="clicks"}) '
                    '/ scalar(sum(sml_joiner_served_probability_count{of="clicks"}))',
                },
                "percentunit",
                kind="bars",
            ),
            Panel(
                "Probabilities predicted",
                "Median and extremes of all candidates' probabilities. All alike: the model tells nothing apart.",
                {
                    "99 % below": quantile(0.99, "sml_server_probability"),
                    "median": quantile(0.5, "sml_server_probability"),
                    "1 % below": quantile(0.01, "sml_server_probability"),
                },
                "percentunit",
            ),
        ],
        "With which weights?": [
            Panel(
                "Weights' age",
                "Time since the weights in service were published: the staleness in every answer.",
                {"{{instance}}": "sml_server_weights_age_seconds"},
                "s",
                ["WeightsStale"],
                [(300, "red")],
            ),
            Panel(
                "Version and examples in service",
                "Version of each server's weights, and the examples that they have learned. Servers should agree.",
                {"version, {{instance}}": "sml_server_weights_version", "examples, {{instance}}": "sml_server_weights_examples"},
                "none",
            ),
            Panel(
                "Age of what was learned",
                "Time since the newest event that the weights in service have learned.",
                {"{{instance}}": "time() - sml_server_weights_trained_through_seconds"},
                "s",
            ),
            Panel(
                "Ready and held",
                "1 when a server has caught up with the log; 1 while it stays on older weights because newer ones are held.",
                {"ready, {{instance}}": "sml_server_ready", "held, {{instance}}": "sml_server_weights_held"},
                "none",
                ["VersionsHeld"],
            ),
            Panel(
                "Time to apply deltas",
                "Time to bring one copy of the weights up to date.",
                both("sml_follower_apply_seconds"),
                "s",
                ["DeltasMissing"],
            ),
        ],
    },
)

EXPERIMENTS = Dashboard(
    "sml-experiments",
    "Experiments",
    {
        "Who answers? (where [arms] are set)": [
            Panel(
                "Share of units",
                "Share of the units that belong to an arm.",
                {"{{arm}}": "sml_server_arm_share"},
                "percentunit",
            ),
            Panel(
                "Answers by arm and reason",
                "Requests that an arm has answered: as its unit's, in another's stead, for want of a unit, or forced by hand.",
                {"{{arm}}, {{reason}}": rate("sml_server_arm_answers_total", "arm, reason")},
                "reqps",
            ),
            Panel(
                "Prediction by arm",
                "What 99 % of an arm's predictions take: an arm that is slower loses clicks for that alone.",
                {"{{arm}}": quantile(0.99, "sml_server_arm_predict_seconds", "arm")},
                "s",
            ),
        ],
        "What has the newest report shown? (`sml experiment report --watch`)": [
            Panel(
                "Uplift",
                "Relative to control, with the ends of the interval that holds at every look. Believe it where the guard rails are fine.",
                {"{{experiment}}, {{arm}}: {{measure}}, {{bound}}": "sml_experiment_uplift_ratio"},
                "percentunit",
            ),
            Panel(
                "Guard rails that fail",
                "1 where a report says that its uplifts are not to be believed, and for which reason.",
                {"{{experiment}}: {{rail}}": "sml_experiment_guard_rail_fails"},
                "none",
                steps=[(1, "red")],
            ),
            Panel(
                "Measures by arm",
                "Click rate, log loss, AUC and calibration of each arm, as the newest report has them.",
                {"{{experiment}}, {{arm}}: {{measure}}": "sml_experiment_arm_measure"},
            ),
            Panel(
                "Units, impressions, clicks by arm",
                "What the newest report counts, and its age.",
                {
                    "{{arm}}: units": "sml_experiment_units",
                    "{{arm}}: impressions": "sml_experiment_impressions",
                    "{{arm}}: clicks": "sml_experiment_clicks",
                    "{{arm}}: value": "sml_experiment_value",
                    "age of the report, s": "time() - sml_experiment_reported_at_seconds",
                },
            ),
        ],
        "Are the arms alike in freshness?": [
            Panel(
                "Stale arms",
                "1 when control answers for an arm, whose weights are missing or stale: its share is not tested then.",
                {"{{arm}}": "sml_server_arm_stale"},
                "none",
                steps=[(1, "red")],
            ),
            Panel(
                "Weights' age by arm",
                "Time since an arm's weights were published.",
                {"{{arm}}": "sml_server_arm_weights_age_seconds"},
                "s",
            ),
            Panel(
                "Version by arm",
                "Version of an arm's weights; each arm counts its own.",
                {"{{arm}}": "sml_server_arm_weights_version"},
                "none",
            ),
            Panel(
                "Age of what an arm has learned",
                "Time since the newest event that an arm's weights have learned.",
                {"{{arm}}": "time() - sml_server_arm_weights_trained_through_seconds"},
                "s",
            ),
            Panel(
                "Examples left to other arms",
                "Examples a second that an arm does not learn, because it learns only what it served itself.",
                {"{{instance}}": rate("sml_learner_others_examples_total", "instance")},
                "cps",
            ),
            Panel(
                "Log loss by arm",
                "Of each learner's predictions before learning, over the newest 10,000 examples: a first look; `sml experiment` decides.",
                {"{{arm}}": 'sml_learner_log_loss{over="10k"} * on (instance) group_left (arm) sml_learner_arm_info'},
            ),
        ],
    },
)

EMBEDDED = Dashboard(
    "sml-embedded-log",
    "Embedded log",
    {
        "How large is it? (where the log is a file; Kafka's brokers have metrics of their own)": [
            Panel(
                "File",
                "Bytes of the log's file, and of its write-ahead log, which is emptied when no reader is open.",
                {"{{file}}": "max by (file) (sml_log_file_bytes)"},
                "bytes",
            ),
            Panel(
                "Records held and deleted",
                "Records that a topic holds, and those that retention has deleted. The joiner's heartbeats and idle watermarks are among "
                "them, about one a second and partition: a topic that grows by no more than that gets no events.",
                {"{{topic}}": "max by (topic) (sml_log_held_records)", "{{topic}}, deleted": "max by (topic) (sml_log_deleted_records)"},
            ),
            Panel(
                "Kept for",
                "How long a topic keeps its records at most.",
                {"{{topic}}": "max by (topic) (sml_log_retention_seconds)"},
                "s",
            ),
        ],
    },
)
