"""The paper's tables and figures as it made them: each network is trained in batches for several epochs, and tried on a test set.

Runs come in the order in which they are worth having: one seed of everything, then the next.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, stdev

from scipy.stats import t as student

from model.layout import Layout
from paper.offline.dataset import EncodedFile, fields
from paper.offline.train import WIDE, Outcome, Recipe, Training, train
from paper.published import DATA, NETWORKS, TABLE_2
from paper.report import Estimate, Figure, Panel, Table
from paper.study import SKIPS, Column, Study, System, View, active_curve, cosine_curve

TOWERS: dict[str, tuple[int, ...]] = {"criteo": (1024, 512, 256), "avazu": (1024, 512)}
DEPTHS = (1, 2, 4, 8, 16, 27, 32, 64, 100)
SHOWN_DEPTHS = (4, 16, 32, 100)  # whose layers are shown
PARTS = ("table1", "table2", "depth")

HEAD = """# The paper's tables and figures, offline

Written by `sml reproduce` from [results.jsonl](results.jsonl), a line for each run; [what they show and do not show](README.md).
Of each number: the paper's, ours, and Student's 95 % interval over seeds. A difference is taken seed by seed, on the same split.
What is not measured yet is left empty.
"""
TABLE_3 = (
    "## Table 3: the online A/B test\n\nIt needs traffic: `python -m benchmarks.experiments.table3` makes it up, on the simulated site."
)
CAPTION_2 = "Test set, first seed. Line: median. Bands: from 5 % to 95 %, and from 25 % to 75 %."
CAPTION_3 = "Share of the test examples on which it is above 0, in networks of several depths. Line: the median neuron. Band: 5 % to 95 %."
CAPTION_4 = "Mean cosine similarity of a layer's outputs on two test examples; at 1 it tells none apart. An output of zeros counts as 0."
CAPTION_5 = "Test set. Band: 95 % interval over seeds, where there are several."


@dataclass(frozen=True, kw_only=True)
class OfflineStudy(Study[Training, Outcome]):
    """The study in batches.

    Attributes:
        sources: the data sets, by name.
        recipe: how networks are trained.
        parts: some of ``PARTS``.
    """

    sources: Mapping[str, EncodedFile]
    recipe: Recipe
    depth_seeds: int = 1
    depths: Sequence[int] = DEPTHS
    parts: Sequence[str] = PARTS

    name = "offline"
    prefix = ""
    where = ""
    width = 400
    skips = tuple(TABLE_2)
    columns = (Column("auc"), Column("auc", difference=True), Column("log_loss"))
    logit_label = "logit: median and quantiles"

    def runs(self) -> list[Training]:
        """Return every run once, in order."""
        parts = {
            "table1": (self.systems1(), self.seeds),
            "table2": (self.systems2(), self.seeds),
            "depth": (self.deep_systems(), self.depth_seeds),
        }
        runs = [
            self.run(data, system, seed)
            for seed in range(max(self.seeds, self.depth_seeds))
            for part, (systems, seeds) in parts.items()
            if part in self.parts and seed < seeds
            for data in self.sources
            for system in systems
        ]
        return list(dict.fromkeys(runs))

    def run(self, data: str, system: System, seed: int) -> Training:
        """Return the run of a system. ``relu``, whatever it reads, is ``vanilla`` after ReLU."""
        network, skip, skip_input, hidden = system
        if skip == "relu":
            skip, skip_input = "vanilla", "post"
        digest, tower = self.sources[data].digest, hidden or TOWERS[data]
        return Training(data, digest, network, skip, skip_input, tower, seed, **vars(self.recipe))

    def work(self, run: Training) -> float:
        """Return the cost of a run, weights × rows; how many epochs it needs is not known before."""
        return float(Layout(run.spec(fields(run.data))).size * self.sources[run.data].rows)

    def task(self, run: Training) -> Callable[[], Outcome]:
        """Return what trains a network."""
        return partial(train, run, self.sources[run.data].folder)

    def views(self) -> list[View]:
        """Return the data sets, whole."""
        return [View(data, DATA[data]) for data in self.sources]

    def estimate(self, view: View, measure: str, outcomes: Sequence[Outcome], baseline: Sequence[Outcome] | None) -> Estimate:  # noqa: ARG002  # a view is whole
        """Return the mean over seeds of a score on the test set, with Student's interval."""
        scores = [float(getattr(outcome, measure)) for outcome in outcomes]
        if baseline is not None:
            scores = [score - getattr(base, measure) for score, base in zip(scores, baseline, strict=True)]
        return over_seeds(scores)

    def contents(self) -> Iterator[str | Table | Figure]:
        """Yield the parts of the page, in order."""
        yield HEAD
        yield self._settings()
        yield self.table1("auc")
        yield self.table1("log_loss")
        yield self.table2()
        yield TABLE_3
        yield Figure("figure2", "Figure 2: the logit by depth", CAPTION_2, self.figure2(), as_numbers=True)
        yield Figure("figure3", "Figure 3: how often a neuron is active, by layer", CAPTION_3, self._figure3(), as_numbers=True)
        yield Figure("figure4", "Figure 4: how alike two examples look, by layer", CAPTION_4, self._figure4(), as_numbers=True)
        yield Figure("figure5", "Figure 5: AUC and log loss by depth", CAPTION_5, self.figure5(), as_numbers=True)
        yield self.depth_table("auc")
        yield self.depth_table("log_loss")

    def _figure3(self) -> list[Panel]:
        """Return the share of the test examples on which a neuron is active, by layer: a panel for each depth."""
        panels = []
        for view in self.views():
            found = {how: self.first_seed(view.data, skip) for skip, how in SKIPS.items()}
            for depth, how in ((depth, how) for depth in SHOWN_DEPTHS for how in found if depth in found[how]):
                title, curves = f"{view.title}, {how}, {depth} layers", {"neurons": active_curve(found[how][depth].layers)}
                panels.append(Panel(title, "layer", "share of time active", curves, log=True, shares=True))
        return panels

    def _figure4(self) -> list[Panel]:
        """Return how alike two test examples look to a layer: a curve for each depth."""
        panels = []
        for view, skip, how in self.sides():
            found = self.first_seed(view.data, skip)
            if curves := {f"of {depth}": cosine_curve(of.layers) for depth, of in found.items() if depth in SHOWN_DEPTHS}:
                panels.append(Panel(f"{view.title}, {how}", "layer", "mean cosine similarity", curves, log=True, shares=True))
        return panels

    def _settings(self) -> str:
        """Return a table of what the networks are and how they were trained."""
        recipe, sources = self.recipe, self.sources.items()
        towers = ", ".join(f"{'-'.join(map(str, TOWERS[data]))} ({DATA[data]})" for data in self.sources)
        cin, attention = ("-".join(map(str, widths)) for widths in (recipe.cin, recipe.attention))
        rows = {
            "data": ", ".join(f"{DATA[data]}, {source.rows:,} rows, categories of {source.least} or more" for data, source in sources),
            "split": "8:1:1 at random, another for each seed",
            "optimiser": f"Adam, rate {recipe.rate}, batches of {recipe.batch:,}; no batch normalisation, no dropout, no weight decay",
            "epochs": f"at most {recipe.epochs}, ended by {recipe.patience} that are no better; the best on the validation set counts",
            "towers": f"{towers}; Figures 2 to 5: {self.width} wide, {self.depths[0]} to {self.depths[-1]} layers",
            "embeddings": f"{recipe.embedding} wide, from a normal distribution of spread {recipe.embedding_std}",
            "initial weights": "tower: He, biases 0; skip weights: spread 0.01; meta learner: spread 0.1/√n, bias 1; output: spread 0.05",
            "branches": f"DCN, DCN-V2: {recipe.cross_layers} cross layers; xDeepFM: {cin} feature maps; "
            f"AutoInt: {attention} wide, one head",
            "wide term": f"{' and '.join(NETWORKS[network] for network in WIDE)} only",
            "seeds": f"{self.seeds} of the tables, {self.depth_seeds} of the figures by depth, as far as they are measured",
        }
        return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in rows.items())])


def over_seeds(values: Sequence[float]) -> Estimate:
    """Return the mean over seeds with Student's interval; one seed has no interval.

    >>> over_seeds([1.0, 2.0, 3.0])  # doctest: +ELLIPSIS
    Estimate(mean=2.0, low=-0.48..., high=4.48..., seeds=3)
    """
    mean, count = fmean(values), len(values)
    if count < 2:  # noqa: PLR2004  # a spread takes two
        return Estimate(mean)
    half = float(student.ppf(0.975, count - 1)) * stdev(values) / count**0.5
    return Estimate(mean, mean - half, mean + half, count)
