"""The paper's tables and figures as it made them: each network is trained in batches for several epochs, and tried on a test set.

Runs come in the order in which they are worth having: one seed of everything, then the next.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from model.layout import Layout
from paper.layers import active_curve, cosine_curve
from paper.offline.dataset import EncodedFile, fields
from paper.offline.run import WIDE, Outcome, Recipe, Run
from paper.offline.train import train
from paper.published import DATA, NETWORKS, TABLE_2
from paper.report import Estimate, Figure, Panel, Table, over_seeds
from paper.study import SKIPS, Column, Study, System, View

TOWERS: dict[str, tuple[int, ...]] = {"criteo": (1024, 512, 256), "avazu": (1024, 512)}
DEPTHS = (1, 2, 4, 8, 16, 27, 32, 64, 100)
SHOWN_DEPTHS = (4, 16, 32, 100)  # whose layers are shown
PARTS = ("table1", "table2", "depth")

HEAD = """# The paper's tables and figures, offline

Written by `sml reproduce` from [results.jsonl](results.jsonl), a line for each run; [what they show and do not show](README.md).
Of each number: the paper's, ours, and Student's 95 % interval over seeds. A difference is taken seed by seed, on the same split.
What is not measured yet is left empty.
"""
TABLE_3 = "## Table 3: the online A/B test\n\n| | |\n| --- | --- |\n| A/B test, with SML against without | not measured: it needs traffic |"


@dataclass(frozen=True, kw_only=True)
class OfflineStudy(Study[Run, Outcome]):
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

    def runs(self) -> list[Run]:
        """Return every run once, in order."""
        runs = [run for seed in range(max(self.seeds, self.depth_seeds)) for run in self._of_seed(seed)]
        return list(dict.fromkeys(runs))

    def _of_seed(self, seed: int) -> Iterator[Run]:
        parts = (
            ("table1", self.systems1(), self.seeds),
            ("table2", self.systems2(), self.seeds),
            ("depth", self.deep_systems(), self.depth_seeds),
        )
        for part, systems, seeds in parts:
            if part in self.parts and seed < seeds:
                yield from (self.run(data, system, seed) for data in self.sources for system in systems)

    def run(self, data: str, system: System, seed: int) -> Run:
        """Return the run of a system. ``relu``, whatever it reads, is ``vanilla`` after ReLU."""
        network, skip, skip_input, hidden = system
        if skip == "relu":
            skip, skip_input = "vanilla", "post"
        return Run(data, self.sources[data].digest, network, skip, skip_input, hidden or TOWERS[data], seed, self.recipe)

    def work(self, run: Run) -> float:
        """Return the cost of a run, weights × rows; how many epochs it needs is not known before."""
        return float(Layout(run.spec(fields(run.data))).size * self.sources[run.data].rows)

    def maker(self) -> Callable[[Run], Outcome]:
        """Return what trains a network."""
        return partial(_train, {data: source.folder for data, source in self.sources.items()})

    def views(self) -> list[View]:
        """Return the data sets, whole."""
        return [View(data, DATA[data]) for data in self.sources]

    def estimate(self, view: View, measure: str, outcomes: Sequence[Outcome], baseline: Sequence[Outcome] | None) -> Estimate:  # noqa: ARG002  # a view is whole
        """Return the mean over seeds of a score on the test set, with Student's interval."""
        scores = [float(getattr(outcome, measure)) for outcome in outcomes]
        if baseline is not None:
            scores = [score - getattr(base, measure) for score, base in zip(scores, baseline, strict=True)]
        return over_seeds(scores)

    def logit(self, outcome: Outcome) -> Sequence[float]:
        """Return the quantiles of the logit on the test set."""
        return outcome.logit

    def contents(self) -> Iterator[str | Table | Figure]:
        """Yield the parts of the page, in order."""
        yield HEAD
        yield self._settings()
        yield self.table1("auc")
        yield self.table1("log_loss")
        yield self.table2()
        yield TABLE_3
        yield from self._figures()
        yield self.depth_table("auc")
        yield self.depth_table("log_loss")

    def _figures(self) -> Iterator[Figure]:
        title, caption = "the logit by depth", "Test set, first seed. Line: median. Bands: from 5 % to 95 %, and from 25 % to 75 %."
        yield Figure("figure2", f"Figure 2: {title}", caption, self.figure2(), as_numbers=True)
        title, caption = (
            "how often a neuron is active, by layer",
            "Share of the test examples on which it is above 0, in networks of several depths. Line: the median neuron. Band: 5 % to 95 %.",
        )
        yield Figure("figure3", f"Figure 3: {title}", caption, self._figure3(), as_numbers=True)
        title, caption = (
            "how alike two examples look, by layer",
            "Mean cosine similarity of a layer's outputs on two test examples; at 1 it tells none apart. An output of zeros counts as 0.",
        )
        yield Figure("figure4", f"Figure 4: {title}", caption, self._figure4(), as_numbers=True)
        title, caption = "AUC and log loss by depth", "Test set. Band: 95 % interval over seeds, where there are several."
        yield Figure("figure5", f"Figure 5: {title}", caption, self.figure5(), as_numbers=True)

    def _figure3(self) -> list[Panel]:
        """Return the share of the test examples on which a neuron is active, by layer: a panel for each depth."""
        panels = []
        for view in self.views():
            found = {how: self.first_seed(view.data, skip) for skip, how in SKIPS.items()}
            for depth in SHOWN_DEPTHS:
                for how, outcomes in found.items():
                    if depth in outcomes:
                        title, curves = f"{view.title}, {how}, {depth} layers", {"neurons": active_curve(outcomes[depth].layers)}
                        panels.append(Panel(title, "layer", "share of time active", curves, log=True, shares=True))
        return panels

    def _figure4(self) -> list[Panel]:
        """Return how alike two test examples look to a layer: a curve for each depth."""
        panels = []
        for view, skip, how in self.sides():
            outcomes = {depth: outcome for depth, outcome in self.first_seed(view.data, skip).items() if depth in SHOWN_DEPTHS}
            if outcomes:
                curves = {f"of {depth}": cosine_curve(outcome.layers) for depth, outcome in outcomes.items()}
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


def _train(folders: Mapping[str, Path], run: Run) -> Outcome:
    return train(run, folders[run.data])
