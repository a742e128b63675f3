"""The paper's Tables 1 and 2, and Figure 5 in numbers, from the outcomes that are known; differences are taken seed by seed."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from paper.offline.plan import SML, Plan, Source, inputs
from paper.offline.results import Results
from paper.offline.run import Run
from paper.published import DATA, NETWORKS, TABLE_1, TABLE_2, Score
from paper.report import Cell, Estimate, Row, Table, over_seeds

MEASURES = {"auc": "AUC", "log_loss": "log loss"}
READS = {"pre": "before ReLU", "post": "after ReLU"}


class Known(NamedTuple):
    """The outcomes of a plan, as far as they are known."""

    plan: Plan
    results: Results

    def scores(self, measure: str, seeds: int, make: Callable[[int], Run]) -> dict[int, float]:
        """One score of the runs that ``make`` gives for each seed."""
        runs = ((seed, make(seed)) for seed in range(seeds))
        return {seed: float(getattr(self.results[run], measure)) for seed, run in runs if run in self.results}


def estimate(scores: Mapping[int, float]) -> Estimate | None:
    """The mean over seeds, if there is one."""
    return over_seeds(list(scores.values())) if scores else None


def difference(scores: Mapping[int, float], base: Mapping[int, float]) -> Estimate | None:
    """By how much ``scores`` are above ``base``, over the seeds that both have.

    >>> difference({0: 3.0, 1: 5.0}, {0: 1.0})
    Estimate(mean=2.0, low=None, high=None, seeds=1)
    """
    return estimate({seed: scores[seed] - base[seed] for seed in scores.keys() & base.keys()})


def compared(name: str) -> tuple[str, str, str]:
    """What the cells of a row hold that compares a network without SML and with it."""
    return f"{name} without SML", f"{name} with SML", "difference"


def table1(known: Known, measure: str) -> Table:
    """Six networks on each data set, without SML and with it, by one measure."""
    name = MEASURES[measure]
    rows = [_row1(known, source, network, measure) for source in known.plan.sources for network in NETWORKS]
    return Table(f"table1_{measure}", f"Table 1: {name} of six networks", ("data", "network"), compared(name), rows)


def _row1(known: Known, source: Source, network: str, measure: str) -> Row:
    plan = known.plan
    without, with_sml = (
        known.scores(measure, plan.seeds, lambda seed, skip=skip: plan.run(source, seed, network=network, skip=skip))  # type: ignore[misc]
        for skip in ("none", SML)
    )
    paper_without, paper_with = (float(getattr(score, measure)) for score in TABLE_1[source.data, network])
    cells = (
        Cell(paper_without, estimate(without)),
        Cell(paper_with, estimate(with_sml)),
        Cell(round(paper_with - paper_without, 5), difference(with_sml, without)),
    )
    return Row((DATA[source.data], NETWORKS[network]), cells)


def table2(known: Known) -> Table:
    """Every skip term of the DNN on each data set."""
    rows = [_row2(known, source, skip, read) for source in known.plan.sources for skip in TABLE_2 for read in inputs(skip)]
    heads = ("data", "skip term", "reads a layer")
    return Table("table2", "Table 2: skip terms of the DNN", heads, ("AUC", "AUC, difference from none", "log loss"), rows)


def _row2(known: Known, source: Source, skip: str, read: str) -> Row:
    plan = known.plan
    auc, log_loss = (
        known.scores(measure, plan.seeds, lambda seed: plan.run(source, seed, skip=skip, skip_input=read))
        for measure in ("auc", "log_loss")
    )
    base = known.scores("auc", plan.seeds, lambda seed: plan.run(source, seed, skip="none"))
    paper, paper_base = TABLE_2[skip][source.data], TABLE_2["none"][source.data]
    none = skip == "none"
    cells = (
        Cell(paper, estimate(auc)),
        Cell() if none else Cell(round(paper - paper_base, 5), difference(auc, base)),
        Cell(_log_loss_of(source, skip), estimate(log_loss)),
    )
    return Row((DATA[source.data], skip, "" if none else READS[read]), cells)


def _log_loss_of(source: Source, skip: str) -> float | None:
    """The paper's log loss of a term; Table 1 has those of two, Table 2 of none."""
    printed: dict[str, Score] = dict(zip(("none", SML), TABLE_1[source.data, "dnn"], strict=True))
    return printed[skip].log_loss if skip in printed else None


def depth(known: Known, measure: str) -> Table:
    """Figure 5 in numbers: the DNN at every depth, without SML and with it, by one measure."""
    name, plan = MEASURES[measure], known.plan
    rows = []
    for source in plan.sources:
        for layers in plan.depths:
            without, with_sml = (depth_scores(known, source, skip, layers, measure) for skip in ("none", SML))
            cells = (Cell(ours=estimate(without)), Cell(ours=estimate(with_sml)), Cell(ours=difference(with_sml, without)))
            rows.append(Row((DATA[source.data], str(layers)), cells))
    return Table(f"figure5_{measure}", f"Figure 5: {name} by depth", ("data", "hidden layers"), compared(name), rows)


def depth_scores(known: Known, source: Source, skip: str, layers: int, measure: str) -> dict[int, float]:
    """One score at one depth, by seed."""
    plan = known.plan
    return known.scores(measure, plan.depth_seeds, lambda seed: plan.at_depth(source, seed, skip, layers))
