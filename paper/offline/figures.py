"""The paper's Figures 2 to 5 from the outcomes that are known: what a DNN of each depth predicts, and what its layers do."""

from collections.abc import Mapping, Sequence

from paper.offline.plan import SML, Source
from paper.offline.run import QUANTILES, Layers, Outcome
from paper.offline.tables import MEASURES, Known, depth_scores, estimate
from paper.pictures import Panel
from paper.published import DATA
from paper.report import Estimate

Curve = Mapping[float, Estimate]

SKIPS = {"none": "without SML", SML: "with SML"}
LOOKED_INTO = (4, 16, 32, 100)  # depths whose layers are shown


def figure2(known: Known) -> list[Panel]:
    """The distribution of the logit on the test set, by depth; the paper's Figure 2."""
    return [
        Panel(
            f"{DATA[source.data]}, {how}",
            "hidden layers",
            "logit: median and quantiles",
            logits({layers: outcome.logit for layers, outcome in outcomes.items()}),
            log=True,
        )
        for source in known.plan.sources
        for skip, how in SKIPS.items()
        if (outcomes := _outcomes(known, source, skip))
    ]


def figure3(known: Known) -> list[Panel]:
    """The share of the test examples on which a neuron is active, by layer: the median neuron, and from 5 % to 95 % of neurons."""
    panels = []
    for source in known.plan.sources:
        found = {how: _looked_into(known, source, skip) for skip, how in SKIPS.items()}
        for depth in LOOKED_INTO:
            for how, outcomes in found.items():
                if depth in outcomes:
                    title = f"{DATA[source.data]}, {how}, {depth} layers"
                    panels.append(
                        Panel(title, "layer", "share of time active", {"neurons": active(outcomes[depth].layers)}, log=True, shares=True)
                    )
    return panels


def figure4(known: Known) -> list[Panel]:
    """How alike two test examples look to a layer, by layer."""
    return [
        Panel(
            f"{DATA[source.data]}, {how}",
            "layer",
            "mean cosine similarity",
            {f"of {depth}": cosine(outcome.layers) for depth, outcome in outcomes.items()},
            log=True,
            shares=True,
        )
        for source in known.plan.sources
        for skip, how in SKIPS.items()
        if (outcomes := _looked_into(known, source, skip))
    ]


def figure5(known: Known) -> list[Panel]:
    """AUC and log loss on the test set, by depth."""
    return [
        Panel(
            DATA[source.data],
            "hidden layers",
            name,
            {how: _scores(known, source, skip, measure) for skip, how in SKIPS.items()},
            log=True,
        )
        for source in known.plan.sources
        for measure, name in MEASURES.items()
    ]


def _outcomes(known: Known, source: Source, skip: str) -> dict[int, Outcome]:
    """Of the first seed, by depth."""
    plan = known.plan
    runs = {layers: plan.at_depth(source, 0, skip, layers) for layers in plan.depths}
    return {layers: known.results[run] for layers, run in runs.items() if run in known.results}


def logits(by_depth: Mapping[int, Sequence[float]]) -> dict[str, Curve]:
    """The logit's median and how far its other quantiles are apart; ``by_depth`` are those of :data:`paper.offline.run.QUANTILES`."""
    low, quarter, median, three_quarters, high = ({depth: of[n] for depth, of in by_depth.items()} for n in range(len(QUANTILES)))
    bands = {"5 % to 95 %": (low, high), "25 % to 75 %": (quarter, three_quarters)}
    return {name: {depth: Estimate(median[depth], a[depth], b[depth]) for depth in by_depth} for name, (a, b) in bands.items()}


def _looked_into(known: Known, source: Source, skip: str) -> dict[int, Outcome]:
    return {depth: outcome for depth, outcome in _outcomes(known, source, skip).items() if depth in LOOKED_INTO}


def active(layers: Layers) -> Curve:
    """How often the median neuron of each layer is active, and 5 % to 95 % of its neurons."""
    low, median, high = layers.active
    return {layer: Estimate(*of) for layer, of in enumerate(zip(median, low, high, strict=True), 1)}


def cosine(layers: Layers) -> Curve:
    """How alike two examples look to each layer."""
    return {layer: Estimate(value) for layer, value in enumerate(layers.cosine, 1)}


def _scores(known: Known, source: Source, skip: str, measure: str) -> Curve:
    found = {layers: estimate(depth_scores(known, source, skip, layers, measure)) for layers in known.plan.depths}
    return {layers: value for layers, value in found.items() if value}
