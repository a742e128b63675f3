"""Figures 2 to 5 as a stream goes by, from the passes that are known; figures 2 to 4 are of the first seed."""

from collections.abc import Callable

import numpy as np

from paper.offline.figures import SKIPS, Curve, active, cosine, logits
from paper.offline.run import Layers
from paper.online.passes import Outcome
from paper.online.plan import Plan
from paper.online.stream import SAMPLES
from paper.online.tables import MEASURES, depth_estimate, depth_runs
from paper.pictures import Panel
from paper.report import Estimate

LOOKED_INTO = 32  # hidden layers of the network whose layers are shown
FOLLOWED = (2, 16, 64)  # hidden layers of the networks that are followed through the stream
MOMENTS = ("half way", "at the end")  # before the first example all values are unseen, and any two examples alike


def figure2(plan: Plan) -> list[Panel]:
    """The distribution of the logit at the end, by depth: the median, and between quantiles."""
    panels = []
    for data, skip, how in _kinds(plan):
        ends = {layers: of[0].moments[-1].logit for layers in plan.depths if 0 in (of := depth_runs(plan, data, skip, layers))}
        panels.append(Panel(f"{SAMPLES[data].title}, {how}", "hidden layers", "logit", logits(ends) if ends else {}, log=True))
    return panels


def figure3(plan: Plan) -> list[Panel]:
    """The share of the probes on which a neuron is active, by layer and moment: the median neuron, and from 5 % to 95 % of neurons."""
    return _by_layer(plan, "share of time active", active)


def figure4(plan: Plan) -> list[Panel]:
    """How alike two probes look to a layer, by layer and moment."""
    return _by_layer(plan, "mean cosine similarity", cosine)


def figure5(plan: Plan) -> list[Panel]:
    """AUC and log loss of the whole pass, by depth."""
    return [
        Panel(
            SAMPLES[data].title,
            "hidden layers",
            MEASURES[measure][0],
            {how: _over_depth(plan, data, skip, measure) for skip, how in SKIPS.items()},
            log=True,
        )
        for data in plan.streams
        for measure in ("auc", "log_loss")
    ]


def figure5_stream(plan: Plan) -> list[Panel]:
    """AUC within each block of time, as the stream goes by."""
    return [
        Panel(
            f"{SAMPLES[data].title}, {how}",
            "block",
            "AUC",
            {f"{layers} layers": _followed(of) for layers in FOLLOWED if (of := depth_runs(plan, data, skip, layers))},
        )
        for data, skip, how in _kinds(plan)
        if plan.streams[data].ordered
    ]


def _kinds(plan: Plan) -> list[tuple[str, str, str]]:
    return [(data, skip, how) for data in plan.streams for skip, how in SKIPS.items()]


def _over_depth(plan: Plan, data: str, skip: str, measure: str) -> Curve:
    found = {layers: depth_estimate(plan, data, skip, layers, measure) for layers in plan.depths}
    return {layers: value for layers, value in found.items() if value}


def _followed(outcomes: dict[int, Outcome]) -> Curve:
    by_seed = [outcome.blocks.above.diagonal() for outcome in outcomes.values()]
    return {block: Estimate(float(value)) for block, value in enumerate(np.mean(by_seed, axis=0), 1)}


def _by_layer(plan: Plan, ylabel: str, curve: Callable[[Layers], Curve]) -> list[Panel]:
    panels = []
    for data, skip, how in _kinds(plan):
        of = depth_runs(plan, data, skip, LOOKED_INTO)
        curves = {name: curve(moment.layers) for name, moment in zip(MOMENTS, of[0].moments[1:], strict=True)} if 0 in of else {}
        panels.append(Panel(f"{SAMPLES[data].title}, {how}, {LOOKED_INTO} layers", "layer", ylabel, curves))
    return panels
