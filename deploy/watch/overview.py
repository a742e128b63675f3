"""The overview: is all well, and since when."""

from deploy.watch.panels import Dashboard, Panel
from deploy.watch.queries import mean, quantile, rate

DECIDED, COUNTED = 'sml_joiner_impressions_total{fate="decided"}', 'sml_joiner_clicks_total{fate="counted"}'

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
        "What is wrong?": [
            Panel(
                "Which alerts fire",
                "How many of each alert fire, or are pending: their condition holds, but not for long enough yet. Nothing is good.",
                {"{{alertname}}, {{alertstate}}": "sum by (alertname, alertstate) (ALERTS)"},
                "none",
            ),
            Panel(
                "Clicks per impression",
                "Clicks that found their impressions, by impressions decided. At 0 clicks have stopped: approve no held version then.",
                {"clicked": f"{rate(COUNTED)} / ({rate(DECIDED)} > 0)"},
                "percentunit",
                ["ClicksMissing"],
            ),
            Panel(
                "Commit to the log",
                "Mean time to make and commit a version, and to commit examples and progress. When the log is slow, both rise.",
                {"learner": mean("sml_learner_publish_seconds"), "joiner": mean("sml_joiner_commit_seconds")},
                "s",
                ["LogSlow"],
                [(0.5, "red")],
            ),
        ],
        "Over time": [
            Panel(
                "Events, examples, steps",
                "Impressions that were decided, examples that were written, and examples that were learned: the three should lie together.",
                {
                    "decided": rate(DECIDED),
                    "written": rate("sml_joiner_examples_total"),
                    "learned": rate("sml_learner_examples_total"),
                },
                "cps",
            ),
            Panel(
                "Quality",
                "Gain over the base rate and over the wide term alone, over the newest 10,000 examples. "
                "Almost without clicks it says little.",
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
