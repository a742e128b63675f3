"""A study of the paper's claims: what to run, how to score it, and what to show.

Tables 1 and 2 and Figures 2 and 5 are built here, for batches and for a stream alike. :mod:`paper.offline.study` and
:mod:`paper.online.study` define how a system is run and scored, and add what only they show. A difference is always taken on the
same seeds.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, NamedTuple

from model.terms import TERMS
from paper.layers import logit_curves
from paper.published import NETWORKS, SML, TABLE_1, TABLE_2
from paper.report import Cell, Curve, Estimate, Figure, Panel, Row, Table
from paper.runs import O, R, Results

MEASURES = {"auc": "AUC", "log_loss": "log loss", "auc_within": "AUC within windows"}
SKIPS = {"none": "without SML", SML: "with SML"}
INPUTS = {"pre": "before ReLU", "post": "after ReLU"}


class System(NamedTuple):
    """What is compared.

    Attributes:
        network: its name in :mod:`model.networks`.
        skip: its skip term.
        skip_input: what the term reads.
        hidden: widths of the tower; None is the tower of the tables.
    """

    network: str = "dnn"
    skip: str = SML
    skip_input: str = "pre"
    hidden: tuple[int, ...] | None = None


class View(NamedTuple):
    """A data set, and how it is cut into the blocks of the bootstrap, where there are any."""

    data: str
    title: str
    by_user: bool = False  # into groups of users, not blocks of time


class Column(NamedTuple):
    """A column of Table 2: a measure, or its difference from the DNN without a term; without the paper's numbers where it has none."""

    measure: str
    difference: bool = False
    paper: bool = True

    @property
    def title(self) -> str:
        """Return the head of the column."""
        return f"{MEASURES[self.measure]}, difference from none" if self.difference else MEASURES[self.measure]


@dataclass(frozen=True, kw_only=True)
class Study(ABC, Generic[R, O]):
    """What to run, how to score it, and what to show.

    Attributes:
        results: the outcomes that are known.
        seeds: of the tables.
        depth_seeds: of the figures by depth.
        depths: of the figures by depth.
    """

    results: Results[R, O]
    seeds: int
    depth_seeds: int
    depths: Sequence[int]

    name: ClassVar[str]  # of the page
    prefix: ClassVar[str]  # of the names of its tables and figures
    where: ClassVar[str]  # of the titles of its tables
    width: ClassVar[int]  # of every layer of the figures by depth
    skips: ClassVar[Sequence[str]]  # of Table 2
    columns: ClassVar[Sequence[Column]]  # of Table 2
    logit_label: ClassVar[str]  # of Figure 2

    # What to run.

    def preparation(self) -> Sequence[R]:
        """Return the runs that must be made before the others are known."""
        return ()

    @abstractmethod
    def runs(self) -> list[R]:
        """Return every run once, in order."""

    @abstractmethod
    def run(self, data: str, system: System, seed: int) -> R:
        """Return the run of a system on a data set."""

    @abstractmethod
    def work(self, run: R) -> float:
        """Return the cost of a run, weights × examples; how many epochs it needs is not known before."""

    @abstractmethod
    def maker(self) -> Callable[[R], O]:
        """Return what makes a run; it can be pickled."""

    def systems1(self) -> list[System]:
        """Return those of Table 1: six networks, without SML and with it."""
        return [System(network, skip) for network in NETWORKS for skip in SKIPS]

    def systems2(self) -> list[System]:
        """Return those of Table 2: every skip term of the DNN, before ReLU and after it."""
        return [System(skip=skip, skip_input=skip_input) for skip in self.skips for skip_input in skip_inputs(skip)]

    def deep_systems(self) -> list[System]:
        """Return the DNN at every depth, without SML and with it."""
        return [self.deep_system(skip, depth) for depth in self.depths for skip in SKIPS]

    def deep_system(self, skip: str, depth: int) -> System:
        """Return the DNN of so many layers, all of one width."""
        return System(skip=skip, hidden=(self.width,) * depth)

    # How to score.

    @abstractmethod
    def views(self) -> list[View]:
        """Return every view of the data sets, in order."""

    @abstractmethod
    def estimate(self, view: View, measure: str, outcomes: Sequence[O], baseline: Sequence[O] | None) -> Estimate:
        """Return a measure over seeds, or by how much it is above that of ``baseline``, which has the same seeds."""

    @abstractmethod
    def logit(self, outcome: O) -> Sequence[float]:
        """Return the quantiles of the logit."""

    def by_seed(self, make: Callable[[int], R], seeds: int) -> dict[int, O]:
        """Return the known outcomes of the runs that ``make`` returns for each seed."""
        runs = ((seed, make(seed)) for seed in range(seeds))
        return {seed: self.results[run] for seed, run in runs if run in self.results}

    def of_system(self, data: str, system: System) -> dict[int, O]:
        """Return the known outcomes of a system, by seed."""
        return self.by_seed(lambda seed: self.run(data, system, seed), self.seeds if system.hidden is None else self.depth_seeds)

    def mean(self, view: View, measure: str, outcomes: Mapping[int, O]) -> Estimate | None:
        """Return the mean over seeds, if there is one."""
        return self.estimate(view, measure, list(outcomes.values()), None) if outcomes else None

    def difference(self, view: View, measure: str, outcomes: Mapping[int, O], baseline: Mapping[int, O]) -> Estimate | None:
        """Return by how much ``outcomes`` are above ``baseline``, over the seeds that both have."""
        seeds = sorted(outcomes.keys() & baseline.keys())
        return self.estimate(view, measure, [outcomes[s] for s in seeds], [baseline[s] for s in seeds]) if seeds else None

    def compared(self, view: View, measure: str, without: Mapping[int, O], with_sml: Mapping[int, O]) -> list[Estimate | None]:
        """Return a measure without SML, with it, and the difference."""
        return [*(self.mean(view, measure, of) for of in (without, with_sml)), self.difference(view, measure, with_sml, without)]

    # What to show.

    @abstractmethod
    def contents(self) -> Iterator[str | Table | Figure]:
        """Yield the parts of the page, in order."""

    def table1(self, measure: str) -> Table:
        """Return six networks on each data set, without SML and with it, by one measure."""
        rows = [
            Row((view.title, NETWORKS[network]), self._cells1(view, network, measure))
            for view in self.views()
            if not (view.by_user and measure == "auc_within")  # windows are of time
            for network in NETWORKS
        ]
        title = f"Table 1{self.where}: {MEASURES[measure]} of six networks"
        return Table(f"{self.prefix}table1_{measure}", title, ("data", "network"), heads(measure), rows, "difference")

    def _cells1(self, view: View, network: str, measure: str) -> tuple[Cell, ...]:
        without, with_sml = (self.of_system(view.data, System(network, skip)) for skip in SKIPS)
        ours = self.compared(view, measure, without, with_sml)
        if (view.data, network) not in TABLE_1 or measure == "auc_within":  # the paper has neither
            return tuple(Cell(ours=value) for value in ours)
        before, after = (float(getattr(score, measure)) for score in TABLE_1[view.data, network])
        return tuple(Cell(*pair) for pair in zip((before, after, round(after - before, 5)), ours, strict=True))

    def table2(self) -> Table:
        """Return every skip term of the DNN on each data set."""
        rows = [
            Row((view.title, system.skip, "" if system.skip == "none" else INPUTS[system.skip_input]), self._cells2(view, system))
            for view in self.views()
            for system in self.systems2()
        ]
        labels, measures = ("data", "skip term", "reads a layer"), tuple(column.title for column in self.columns)
        title = f"Table 2{self.where}: skip terms of the DNN"
        return Table(f"{self.prefix}table2", title, labels, measures, rows, "AUC, difference from none")

    def _cells2(self, view: View, system: System) -> tuple[Cell, ...]:
        outcomes, baseline = (self.of_system(view.data, of) for of in (system, System(skip="none")))
        cells = []
        for column in self.columns:
            if not column.difference:
                ours = self.mean(view, column.measure, outcomes)
            elif system.skip == "none":
                ours = None
            else:
                ours = self.difference(view, column.measure, outcomes, baseline)
            cells.append(Cell(_printed(column, view.data, system.skip), ours))
        return tuple(cells)

    def depth_table(self, measure: str) -> Table:
        """Return Figure 5 in numbers: the DNN at every depth, without SML and with it, by one measure."""
        rows = []
        for view in self._data_sets():
            for depth in self.depths:
                without, with_sml = (self.of_system(view.data, self.deep_system(skip, depth)) for skip in SKIPS)
                cells = (Cell(ours=value) for value in self.compared(view, measure, without, with_sml))
                rows.append(Row((view.title, str(depth)), tuple(cells)))
        title = f"Figure 5{self.where}: {MEASURES[measure]} by depth"
        return Table(f"{self.prefix}figure5_{measure}", title, ("data", "hidden layers"), heads(measure), rows)

    def figure2(self) -> list[Panel]:
        """Return the distribution of the logit by depth, of the first seed."""
        panels = []
        for view, skip, how in self.sides():
            by_depth = {depth: self.logit(outcome) for depth, outcome in self.first_seed(view.data, skip).items()}
            if by_depth:
                panels.append(Panel(f"{view.title}, {how}", "hidden layers", self.logit_label, logit_curves(by_depth), log=True))
        return panels

    def figure5(self) -> list[Panel]:
        """Return AUC and log loss by depth."""
        return [
            Panel(
                view.title,
                "hidden layers",
                MEASURES[measure],
                {how: self._depth_curve(view, skip, measure) for skip, how in SKIPS.items()},
                log=True,
            )
            for view in self._data_sets()
            for measure in ("auc", "log_loss")
        ]

    def first_seed(self, data: str, skip: str) -> dict[int, O]:
        """Return the known outcomes of the first seed, by depth."""
        runs = {depth: self.run(data, self.deep_system(skip, depth), 0) for depth in self.depths}
        return {depth: self.results[run] for depth, run in runs.items() if run in self.results}

    def sides(self) -> list[tuple[View, str, str]]:
        """Return each data set without SML and with it: its view, the skip term, and the words for it."""
        return [(view, skip, how) for view in self._data_sets() for skip, how in SKIPS.items()]

    def _data_sets(self) -> list[View]:
        return [view for view in self.views() if not view.by_user]

    def _depth_curve(self, view: View, skip: str, measure: str) -> Curve:
        by_depth = {depth: self.of_system(view.data, self.deep_system(skip, depth)) for depth in self.depths}
        found = {depth: self.mean(view, measure, outcomes) for depth, outcomes in by_depth.items()}
        return {depth: value for depth, value in found.items() if value}


def skip_inputs(skip: str) -> tuple[str, ...]:
    """Return what a term may read: there is nothing to choose where there is no term.

    >>> skip_inputs("none"), skip_inputs("tanh")
    (('pre',), ('pre', 'post'))
    """
    return ("pre",) if TERMS[skip] == TERMS["none"] else ("pre", "post")  # type: ignore[index]


def heads(measure: str) -> tuple[str, str, str]:
    """Return the measures of a row that compares a system without SML and with it."""
    return f"{MEASURES[measure]} without SML", f"{MEASURES[measure]} with SML", "difference"


def _printed(column: Column, data: str, skip: str) -> float | None:
    """Return the paper's number: Table 2 has the AUC, Table 1 also the log loss of two terms."""
    aucs = {term: of[data] for term, of in TABLE_2.items() if data in of}
    if not column.paper or skip not in aucs:
        return None
    if column.measure == "log_loss":
        printed = dict(zip(SKIPS, TABLE_1[data, "dnn"], strict=True))
        return printed[skip].log_loss if skip in printed else None
    if column.difference:
        return None if skip == "none" else round(aucs[skip] - aucs["none"], 5)
    return aucs[skip]
