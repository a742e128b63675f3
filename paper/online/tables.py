"""Tables 1 and 2 of the stream from the passes that are known; a difference is taken on the same seeds and the same blocks."""

from collections.abc import Callable
from typing import NamedTuple

from paper.offline.plan import SML, inputs
from paper.offline.tables import READS, compared
from paper.online.bootstrap import Measure, Tally, auc, auc_within, estimate, log_loss
from paper.online.passes import Outcome, Pass
from paper.online.plan import SKIPS, TOWERS, Plan, Tower
from paper.online.stream import SAMPLES
from paper.published import NETWORKS, TABLE_1, TABLE_2
from paper.report import Cell, Estimate, Row, Table

MEASURES: dict[str, tuple[str, Measure]] = {
    "log_loss": ("log loss", log_loss),
    "auc": ("AUC", auc),
    "auc_within": ("AUC within windows", auc_within),
}


class View(NamedTuple):
    """A sample, and which blocks of it are drawn again."""

    data: str
    title: str
    by_user: bool = False

    def of(self, outcome: Outcome) -> Tally:
        """Give an outcome by these blocks."""
        return outcome.users if self.by_user and outcome.users else outcome.blocks


def views(plan: Plan) -> list[View]:
    """Every way in which the samples of a plan are cut into blocks."""
    found = []
    for data, stream in plan.streams.items():
        found.append(View(data, SAMPLES[data].title))
        if len(stream.users):
            found.append(View(data, f"{SAMPLES[data].title}, by user", by_user=True))
    return found


def table1(plan: Plan, measure: str) -> Table:
    """Six networks on each sample, without SML and with it, by one measure."""
    name, _ = MEASURES[measure]
    rows = [
        Row((view.title, NETWORKS[network]), _cells1(plan, view, network, measure))
        for view in views(plan)
        if not (view.by_user and measure == "auc_within")  # windows are of time
        for network in NETWORKS
    ]
    return Table(f"online_table1_{measure}", f"Table 1 in a stream: {name} of six networks", ("data", "network"), compared(name), rows)


def _cells1(plan: Plan, view: View, network: str, measure: str) -> tuple[Cell, ...]:
    without = _by_seed(plan, lambda seed: plan.run(view.data, seed, network=network, skip="none"))
    with_sml = _by_seed(plan, lambda seed: plan.run(view.data, seed, network=network, skip=SML))
    ours = _compared(view, measure, without, with_sml)
    if (view.data, network) not in TABLE_1 or measure == "auc_within":  # the paper has neither
        return tuple(Cell(ours=value) for value in ours)
    before, after = (float(getattr(score, measure)) for score in TABLE_1[view.data, network])
    return tuple(Cell(*pair) for pair in zip((before, after, round(after - before, 5)), ours, strict=True))


def table2(plan: Plan) -> Table:
    """Every skip term of the DNN on each sample."""
    rows = [
        Row((view.title, skip, "" if skip == "none" else READS[read]), _cells2(plan, view, skip, read))
        for view in views(plan)
        for skip in SKIPS
        for read in inputs(skip)
    ]
    measures = ("log loss", "log loss, difference from none", "AUC", "AUC, difference from none")
    return Table("online_table2", "Table 2 in a stream: skip terms of the DNN", ("data", "skip term", "reads a layer"), measures, rows)


def _cells2(plan: Plan, view: View, skip: str, read: str) -> tuple[Cell, ...]:
    runs = _by_seed(plan, lambda seed: plan.run(view.data, seed, skip=skip, skip_input=read))
    base = _by_seed(plan, lambda seed: plan.run(view.data, seed, skip="none"))
    printed = TABLE_2.get(skip, {}).get(view.data)
    more = round(printed - TABLE_2["none"][view.data], 5) if printed else None
    if skip == "none":
        return (Cell(ours=_mean(view, "log_loss", runs)), Cell(), Cell(printed, _mean(view, "auc", runs)), Cell())
    return (
        Cell(ours=_mean(view, "log_loss", runs)),
        Cell(ours=_difference(view, "log_loss", runs, base)),
        Cell(printed, _mean(view, "auc", runs)),
        Cell(more, _difference(view, "auc", runs, base)),
    )


def hindsight(plan: Plan) -> Table:
    """The DNN under every setting that was tried, over the whole of what is scored: what another choice would have given."""
    rows = [
        Row((view.title, str(tower.rate), str(tower.accumulator)), _cells_under(plan, view, tower))
        for view in views(plan)
        if not view.by_user
        for tower in TOWERS
    ]
    measures = ("log loss without SML", "log loss with SML", "difference", "AUC, difference")
    return Table("online_settings", "The DNN under every setting that was tried", ("data", "rate", "accumulator"), measures, rows)


def _cells_under(plan: Plan, view: View, tower: Tower) -> tuple[Cell, ...]:
    without = _by_seed(plan, lambda seed: plan.under(view.data, seed, "none", tower))
    with_sml = _by_seed(plan, lambda seed: plan.under(view.data, seed, SML, tower))
    found = (*_compared(view, "log_loss", without, with_sml), _difference(view, "auc", with_sml, without))
    return tuple(Cell(ours=value) for value in found)


def depth(plan: Plan, measure: str) -> Table:
    """Figure 5 in numbers: the DNN at every depth, without SML and with it, by one measure."""
    name, _ = MEASURES[measure]
    rows = []
    for view in views(plan):
        for layers in () if view.by_user else plan.depths:
            without, with_sml = (depth_runs(plan, view.data, skip, layers) for skip in ("none", SML))
            ours = _compared(view, measure, without, with_sml)
            rows.append(Row((view.title, str(layers)), tuple(Cell(ours=value) for value in ours)))
    return Table(f"online_figure5_{measure}", f"Figure 5 in a stream: {name} by depth", ("data", "hidden layers"), compared(name), rows)


def depth_runs(plan: Plan, data: str, skip: str, layers: int) -> dict[int, Outcome]:
    """The outcomes at one depth, by seed."""
    return _by_seed(plan, lambda seed: plan.at_depth(data, seed, skip, layers))


def depth_estimate(plan: Plan, data: str, skip: str, layers: int, measure: str) -> Estimate | None:
    """One measure at one depth, over seeds and blocks."""
    return _mean(View(data, ""), measure, depth_runs(plan, data, skip, layers))


def _by_seed(plan: Plan, make: Callable[[int], Pass]) -> dict[int, Outcome]:
    runs = ((seed, make(seed)) for seed in range(plan.seeds))
    return {seed: plan.known[run] for seed, run in runs if run in plan.known}


def _compared(view: View, measure: str, without: dict[int, Outcome], with_sml: dict[int, Outcome]) -> tuple[Estimate | None, ...]:
    """Without SML, with it, and the difference."""
    return _mean(view, measure, without), _mean(view, measure, with_sml), _difference(view, measure, with_sml, without)


def _mean(view: View, measure: str, outcomes: dict[int, Outcome]) -> Estimate | None:
    return estimate(MEASURES[measure][1], [view.of(outcome) for outcome in outcomes.values()]) if outcomes else None


def _difference(view: View, measure: str, outcomes: dict[int, Outcome], base: dict[int, Outcome]) -> Estimate | None:
    both = sorted(outcomes.keys() & base.keys())
    runs, less = ([view.of(of[seed]) for seed in both] for of in (outcomes, base))
    return estimate(MEASURES[measure][1], runs, less) if both else None
