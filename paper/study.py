"""A study of the paper's claims: what to run, how to score it, and what to show.

Tables 1 and 2 and Figures 2 and 5 are built here, for batches and for a stream alike. :mod:`paper.offline.study` and
:mod:`paper.online.study` define how a system is run and scored, and add what only they show. A difference is always taken on the
same seeds.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, NamedTuple

from paper.layers import Layers
from paper.published import NETWORKS, SML, printed
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
    def task(self, run: R) -> Callable[[], O]:
        """Return what makes a run; it can be pickled."""

    def systems1(self) -> list[System]:
        """Return those of Table 1: six networks, without SML and with it."""
        return [System(network, skip) for network in NETWORKS for skip in SKIPS]

    def systems2(self) -> list[System]:
        """Return those of Table 2: every skip term of the DNN, before ReLU and after it."""
        return [System(skip=skip, skip_input=read) for skip in self.skips for read in INPUTS if skip != "none" or read == "pre"]

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

    def known(self, runs: Mapping[int, R]) -> dict[int, O]:
        """Return the outcomes of those runs that are known, by the same keys: seeds or depths."""
        return {key: self.results[run] for key, run in runs.items() if run in self.results}

    def of_system(self, data: str, system: System) -> dict[int, O]:
        """Return the known outcomes of a system, by seed."""
        seeds = self.seeds if system.hidden is None else self.depth_seeds
        return self.known({seed: self.run(data, system, seed) for seed in range(seeds)})

    def first_seed(self, data: str, skip: str) -> dict[int, O]:
        """Return the known outcomes of the first seed, by depth."""
        return self.known({depth: self.run(data, self.deep_system(skip, depth), 0) for depth in self.depths})

    def score(self, view: View, measure: str, outcomes: Mapping[int, O], baseline: Mapping[int, O] | None = None) -> Estimate | None:
        """Return a measure, or by how much it is above that of ``baseline``, over the seeds that both have; None if there are none."""
        seeds = sorted(outcomes if baseline is None else outcomes.keys() & baseline.keys())
        if not seeds:
            return None
        return self.estimate(view, measure, [outcomes[seed] for seed in seeds], [baseline[seed] for seed in seeds] if baseline else None)

    def compared(self, view: View, measure: str, without: Mapping[int, O], with_sml: Mapping[int, O]) -> list[Estimate | None]:
        """Return a measure without SML, with it, and the difference."""
        return [self.score(view, measure, *of) for of in ((without,), (with_sml,), (with_sml, without))]

    # What to show.

    @abstractmethod
    def contents(self) -> Iterator[str | Table | Figure]:
        """Yield the parts of the page, in order."""

    def table1(self, measure: str) -> Table:
        """Return six networks on each data set, without SML and with it, by one measure."""
        rows = []
        for view in self.views():
            if view.by_user and measure == "auc_within":  # windows are of time
                continue
            for network, name in NETWORKS.items():
                ours = self.compared(view, measure, *(self.of_system(view.data, System(network, skip)) for skip in SKIPS))
                before, after = (printed(view.data, network, skip, measure) for skip in SKIPS)
                rows.append(Row((view.title, name), list(map(Cell, (before, after, _gain(before, after)), ours))))
        title = f"Table 1{self.where}: {MEASURES[measure]} of six networks"
        return Table(f"{self.prefix}table1_{measure}", title, ("data", "network"), heads(measure), rows, "difference")

    def table2(self) -> Table:
        """Return every skip term of the DNN on each data set."""
        rows = []
        for view in self.views():
            baseline = self.of_system(view.data, System(skip="none"))
            for system in self.systems2():
                outcomes = self.of_system(view.data, system)
                cells = [self._cell2(view, column, system.skip, outcomes, baseline) for column in self.columns]
                rows.append(Row((view.title, system.skip, "" if system.skip == "none" else INPUTS[system.skip_input]), cells))
        labels, measures = ("data", "skip term", "reads a layer"), [column.title for column in self.columns]
        title = f"Table 2{self.where}: skip terms of the DNN"
        return Table(f"{self.prefix}table2", title, labels, measures, rows, "AUC, difference from none")

    def _cell2(self, view: View, column: Column, skip: str, outcomes: Mapping[int, O], baseline: Mapping[int, O]) -> Cell:
        if column.difference and skip == "none":
            return Cell()
        none, paper = (printed(view.data, "dnn", term, column.measure) if column.paper else None for term in ("none", skip))
        if column.difference:
            return Cell(_gain(none, paper), self.score(view, column.measure, outcomes, baseline))
        return Cell(paper, self.score(view, column.measure, outcomes))

    def by_depth(self, view: View, measure: str) -> dict[int, list[Estimate | None]]:
        """Return a measure of the DNN without SML, with it, and the difference, at every depth."""
        systems = {depth: [self.deep_system(skip, depth) for skip in SKIPS] for depth in self.depths}
        return {depth: self.compared(view, measure, *(self.of_system(view.data, system) for system in of)) for depth, of in systems.items()}

    def depth_table(self, measure: str) -> Table:
        """Return Figure 5 in numbers, by one measure."""
        rows = [
            Row((view.title, str(depth)), [Cell(ours=value) for value in ours])
            for view in self.data_sets()
            for depth, ours in self.by_depth(view, measure).items()
        ]
        title = f"Figure 5{self.where}: {MEASURES[measure]} by depth"
        return Table(f"{self.prefix}figure5_{measure}", title, ("data", "hidden layers"), heads(measure), rows)

    def figure5(self) -> list[Panel]:
        """Return AUC and log loss by depth."""
        panels = []
        for view in self.data_sets():
            for measure in ("auc", "log_loss"):
                ours = self.by_depth(view, measure)
                curves = {how: {depth: value for depth, of in ours.items() if (value := of[i])} for i, how in enumerate(SKIPS.values())}
                panels.append(Panel(view.title, "hidden layers", MEASURES[measure], curves, log=True))
        return panels

    def figure2(self) -> list[Panel]:
        """Return the distribution of the logit by depth, of the first seed: its median, with bands between its other quantiles."""
        panels = []
        for view, skip, how in self.sides():
            if logits := {depth: outcome.logit for depth, outcome in self.first_seed(view.data, skip).items()}:
                bands = {"5 % to 95 %": (0, 4), "25 % to 75 %": (1, 3)}  # of the quantiles; the third is the median
                curves = {name: {depth: Estimate(of[2], of[a], of[b]) for depth, of in logits.items()} for name, (a, b) in bands.items()}
                panels.append(Panel(f"{view.title}, {how}", "hidden layers", self.logit_label, curves, log=True))
        return panels

    def sides(self) -> list[tuple[View, str, str]]:
        """Return each data set without SML and with it: its view, the skip term, and the words for it."""
        return [(view, skip, how) for view in self.data_sets() for skip, how in SKIPS.items()]

    def data_sets(self) -> list[View]:
        """Return one view of each data set."""
        return [view for view in self.views() if not view.by_user]


def heads(measure: str) -> tuple[str, str, str]:
    """Return the measures of a row that compares a system without SML and with it."""
    return f"{MEASURES[measure]} without SML", f"{MEASURES[measure]} with SML", "difference"


def active_curve(layers: Layers) -> Curve:
    """Return how often the median neuron of each layer is active, with a band from 5 % to 95 % of its neurons."""
    return {layer: Estimate(median, low, high) for layer, (low, median, high) in enumerate(zip(*layers.active, strict=True), 1)}


def cosine_curve(layers: Layers) -> Curve:
    """Return how alike two examples look to each layer."""
    return {layer: Estimate(value) for layer, value in enumerate(layers.cosine, 1)}


def _gain(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else round(after - before, 5)
