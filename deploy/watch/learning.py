"""The dashboards of the learner: how good its predictions are, and what goes on inside the network."""

from deploy.watch.panels import Dashboard, Panel
from deploy.watch.queries import RATE, rate

BY_WINDOW = "over {{over}}"

QUALITY = Dashboard(
    "sml-learning",
    "Learning quality",
    {
        "Does it learn?": [
            Panel(
                "Log loss",
                "Of predictions made before learning, over the newest 1,000 to 100,000 examples and all. The lower the better, "
                "but for a window almost without clicks, which makes it look superb: see the click rate.",
                {BY_WINDOW: "sml_learner_log_loss"},
            ),
            Panel(
                "Normalised entropy",
                "Log loss by that of always predicting the click rate. Below 1 the model knows more than that; the lower the better. "
                "A window almost without clicks says little: see the click rate.",
                {BY_WINDOW: "sml_learner_normalized_entropy"},
                alerts=["NothingLearned"],
                steps=[(1, "red")],
            ),
            Panel(
                "AUC",
                "How often a click was given more than a non-click. 0.5 is chance; of a window almost without clicks it is noise.",
                {BY_WINDOW: "sml_learner_auc"},
            ),
            Panel(
                "Calibration",
                "Predicted clicks by clicks: 1 is right, above it the model promises too much.",
                {BY_WINDOW: "sml_learner_calibration"},
                alerts=["CalibrationOff"],
                steps=[(1.2, "red")],
            ),
            Panel(
                "Gain over the base rate",
                "Share of the log loss of always predicting the window's click rate that the model saves. Above 0 it is of use. "
                "Almost without clicks there is nothing to save, and it says little.",
                {BY_WINDOW: 'sml_learner_gain_ratio{baseline="base_rate"}'},
                "percentunit",
                alerts=["NothingLearned"],
            ),
            Panel(
                "Gain over the wide term alone",
                "Share of the log loss of the model's own bias and wide weights that the deep part saves. Near 0 the network adds nothing.",
                {BY_WINDOW: 'sml_learner_gain_ratio{baseline="wide"}'},
                "percentunit",
            ),
            Panel(
                "Examples in a window",
                "A window is full once as many examples were learned since the learner began; before that its scores are of fewer.",
                {BY_WINDOW: "sml_learner_window_examples"},
            ),
        ],
        "Is it right where it matters?": [
            Panel(
                "Calibration curve",
                "The newest 100,000 examples in twenty equal groups by prediction: the two bars of a group should be alike.",
                {
                    "{{group}} predicted": "sml_learner_calibration_curve_predicted_ratio",
                    "{{group}} clicked": "sml_learner_calibration_curve_clicked_ratio",
                },
                "percentunit",
                kind="bars",
            ),
            Panel(
                "Calibration by slice",
                "Predicted clicks by clicks of each value of the fields in [learn] slices, over the newest 100,000 examples. 1 is right.",
                {"{{field}}: {{value}}": "sml_learner_slice_calibration"},
                steps=[(1.5, "red")],
            ),
            Panel(
                "Normalised entropy by slice",
                "Where a value's line is near 1, the model knows little of these examples but their click rate.",
                {"{{field}}: {{value}}": "sml_learner_slice_normalized_entropy"},
                steps=[(1, "red")],
            ),
            Panel(
                "AUC by slice",
                "How well the model tells clicks from others among the examples of one value.",
                {"{{field}}: {{value}}": "sml_learner_slice_auc"},
            ),
            Panel(
                "Log loss by slice",
                "Of predictions made before learning; compare a slice with itself over time, since the fewer are clicked, the lower it is.",
                {"{{field}}: {{value}}": "sml_learner_slice_log_loss"},
            ),
            Panel(
                "Examples by slice",
                "How many of the newest 100,000 examples have a value; scores of few examples mean little.",
                {"{{field}}: {{value}}": "sml_learner_slice_examples"},
            ),
        ],
        "Does the stream change?": [
            Panel(
                "Click rate",
                "Share of clicks among the newest examples. A short window that leaves the long one: the site, or the label, has changed.",
                {BY_WINDOW: "sml_learner_click_rate_ratio"},
                "percentunit",
                alerts=["ClickRateDrift"],
            ),
            Panel(
                "Drift of the click rate",
                "Logit of the click rate over 1,000 examples less that over 100,000. Beyond ±0.7 the odds have doubled or halved. "
                "Without a click it falls to about -6 where a fifth is clicked, -3 where a hundredth is.",
                {"log-odds": "sml:click_rate_drift:logit"},
                alerts=["ClickRateDrift"],
                steps=[(0.7, "red")],
            ),
            Panel(
                "Values never seen",
                "Share of a field's values that had no row in the table. A jump: a field is written another way.",
                {"{{field}}": "sml:unseen_values:ratio5m"},
                "percentunit",
                alerts=["UnseenValues"],
            ),
            Panel(
                "Values a second",
                "Values of each field, in one example of sixteen; those of a list count one by one.",
                {
                    "{{field}}": rate("sml_learner_values_total", "field"),
                    "{{field}}, unseen": rate("sml_learner_unseen_values_total", "field"),
                },
                "cps",
            ),
            Panel(
                "Most frequent value",
                "Share of a field's most frequent value in recent examples, beside that in good ones. Near 1: a constant or a flood.",
                {"{{field}}, {{of}}": "sml_learner_top_value_share_ratio"},
                "percentunit",
                alerts=["OneValue"],
            ),
        ],
        "Does the guard let it pass?": [
            Panel(
                "Held",
                "1 while versions are held for a check of the guard; servers stay on the last good one.",
                {"{{check}}": "sml_learner_held"},
                "none",
                alerts=["VersionsHeld"],
                steps=[(1, "red")],
            ),
            Panel(
                "Versions held",
                "Versions that the guard has held, by check, since the learner began. In a good stream it stays at 0.",
                {"{{check}}": "sml_learner_held_versions_total"},
                "none",
                alerts=["VersionsHeld"],
                steps=[(1, "red")],
            ),
        ],
    },
)

INSIDE = Dashboard(
    "sml-inside",
    "Inside the network",
    {
        "What does each layer add?": [
            Panel(
                "Skip terms, mean",
                "What the skip term of each layer adds to the logit, on average of 64 recent examples. One that is always 0 is not used.",
                {"{{term}}": "sml_learner_skip_term_mean"},
            ),
            Panel(
                "Skip terms, spread",
                "Standard deviation of what a skip term adds, from example to example: what it knows of them. Large and growing: watch it.",
                {"{{term}}": "sml_learner_skip_term_stddev"},
            ),
            Panel(
                "Weights of the skip terms",
                "Norm of W and of the meta learner of each skip term: how the weights of SML change.",
                {"{{parameter}}": 'sml_learner_weight_norm{parameter=~".*skip.*"}'},
            ),
        ],
        "Is it healthy?": [
            Panel(
                "Silent neurons",
                "Share of a layer's neurons that ReLU silences, on average. Half is usual; the step skips their weights.",
                {"{{layer}}": "sml_learner_silent_neurons_ratio"},
                "percentunit",
            ),
            Panel(
                "Dead neurons",
                "Share of a layer's neurons that none of 64 recent examples wakes. They learn nothing while they sleep.",
                {"{{layer}}": "sml_learner_dead_neurons_ratio"},
                "percentunit",
                alerts=["DeadNeurons"],
                steps=[(0.9, "red")],
            ),
            Panel(
                "Norm of the weights",
                "Euclidean norm of each dense parameter. It settles slowly; one that runs away has too high a rate.",
                {"{{parameter}}": 'sml_learner_weight_norm{parameter!~".*skip.*"}'},
            ),
            Panel(
                "Norm of the gradients",
                "Root mean square norm of an example's gradient by each parameter. A jump is a change of the stream.",
                {"{{parameter}}": "sml_learner_gradient_norm"},
            ),
        ],
        "Is there room in the table?": [
            Panel(
                "Table",
                "Share of its rows that are occupied, and share of rows that give way to newer values each second.",
                {
                    "occupied": "sml_learner_table_rows / sml_learner_table_capacity_rows",
                    "gave way, a second": f"deriv(sml_learner_table_expired_rows{RATE}) / sml_learner_table_capacity_rows",
                },
                "percentunit",
                alerts=["TableFull"],
                steps=[(0.95, "red")],
            ),
            Panel(
                "Rows of the table",
                "How many rows it has ([table] capacity), and how many are occupied. Each value of each field takes one.",
                {"capacity": "sml_learner_table_capacity_rows", "occupied": "sml_learner_table_rows"},
                alerts=["TableFull"],
            ),
        ],
    },
)
