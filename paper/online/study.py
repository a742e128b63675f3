"""The paper's claims in a stream: each network passes once over a recorded log, an example a step, predicted before it is learned.

Two settings of the tower are chosen first, on the beginning of each stream.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import product
from typing import NamedTuple

import numpy as np

from model.layout import Layout
from paper.layers import Layers
from paper.online.bootstrap import RESAMPLES, Measure, Tally, auc, auc_within, estimate, log_loss
from paper.online.passes import PROBES, Outcome, Pass, learn_once
from paper.online.stream import HOUR, PREFIX, ROWS, SAMPLES, USER_GROUPS, Stream
from paper.published import SML, TABLE_2
from paper.report import Cell, Curve, Estimate, Figure, Panel, Row, Table, markdown_table
from paper.study import SKIPS, Column, Study, System, View, active_curve, cosine_curve, heads

TOWER = (64, 64)
WIDTH = 64  # of every layer of the figures by depth
DEPTHS = (1, 2, 3, 4, 8, 16, 32, 64, 100)
DEEP = 16  # depth at which settings are chosen for towers of 8 layers and more
CHOOSING = 1_000  # the seed of the passes that settings are chosen by; no other has it
SHOWN_DEPTH = 32  # hidden layers of the network whose layers are shown
FOLLOWED = (2, 16, 64)  # hidden layers of the networks that are followed through the stream
MOMENTS = ("half way", "at the end")  # before the first example all values are unseen, and any two examples alike
SCORES: dict[str, Measure] = {"log_loss": log_loss, "auc": auc, "auc_within": auc_within}

HEAD = f"""# The paper's claims in a stream

Written by `sml reproduce --online` from [online.jsonl](online.jsonl), a line for each pass;
[what it shows and does not show](online_notes.md).

One pass, one example a step, predicted right before learned (the protocol `usual` of `sml evaluate`). Networks are compared with one
another, all under it. There is no figure as it is served, since all passes would be made again: what serving changes is measured
[beside other learners](../accuracy/README.md). Criteo has no time, so `usual` is all there is.
At least the first {PREFIX:.0%} of each sample are learned and never scored; the
tower's rate and accumulator were chosen on them. Tower {"-".join(map(str, TOWER))}, embeddings 8 wide, Adagrad, wide term; the rest as
`sml init --all` has it.

A number is the mean over seeds. In brackets: the middle 95 % of {RESAMPLES:,} resamples, each of as many seeds and as many blocks of
the stream as there are, drawn with replacement, with log loss and AUC worked out again; a difference is taken on the same seeds and blocks.
"By user" draws {USER_GROUPS} groups of users in place of days. The paper's numbers stand beside ours to compare directions: they are of
more data, learned in batches and in several passes. What is not measured yet is left empty.
"""
CAPTION_2 = f"At the end of the stream, first seed, over {PROBES} examples. Line: median."
CAPTION_3 = f"Share of {PROBES} examples on which it is above 0, by layer, first seed. Line: median neuron. Band: 5 % to 95 % of neurons."
CAPTION_4 = f"Mean cosine similarity between a layer's outputs on two of {PROBES} examples, first seed; 1: it no longer tells them apart."
CAPTION_5 = "Over the whole pass. Band: as in the tables."
CAPTION_STREAM = "AUC within each block of time, the mean over seeds."


class TowerStep(NamedTuple):
    """Adagrad's settings of the tower, chosen on the prefix."""

    rate: float
    accumulator: float


STEPS = [TowerStep(rate, accumulator) for rate in (0.003, 0.01, 0.03) for accumulator in (0.001, 0.003, 0.01)]


@dataclass(frozen=True, kw_only=True)
class OnlineStudy(Study[Pass, Outcome]):
    """The study in a stream.

    Attributes:
        streams: the samples, by name.
        learn: makes a pass.
    """

    streams: Mapping[str, Stream]
    depths: Sequence[int] = DEPTHS
    learn: Callable[[Pass, Stream], Outcome] = learn_once

    name = "online"
    prefix = "online_"
    where = " in a stream"
    width = WIDTH
    skips = (*TABLE_2, "meta_tanh_online")  # the last is not the paper's
    columns = (
        Column("log_loss", paper=False),
        Column("log_loss", difference=True, paper=False),
        Column("auc"),
        Column("auc", difference=True),
    )
    logit_label = "logit"

    @cached_property
    def digests(self) -> dict[str, str]:
        """Return the digests of the streams."""
        return {data: stream.digest for data, stream in self.streams.items()}

    def preparation(self) -> list[Pass]:
        """Return the passes over the prefixes that settings are chosen by."""
        kinds = product((False, True), SKIPS, self.streams)
        return [run for deep, skip, data in kinds for run in self._candidates(data, skip, deep=deep)]

    def runs(self) -> list[Pass]:
        """Return every pass once: the tables, one seed after the other, then the figures; settings have to be chosen before."""
        systems = [*self.systems2(), *self.systems1()]
        tables = []
        for seed, data in product(range(self.seeds), self.streams):
            tables += [self.run(data, system, seed) for system in systems]
            tables += [self._pass(data, System(skip=skip), seed, step) for step in STEPS for skip in SKIPS]
        cheap_first = sorted(self.streams, key=lambda data: len(self.streams[data].labels))
        depth = [self.run(data, system, seed) for data in cheap_first for seed in range(self.depth_seeds) for system in self.deep_systems()]
        return list(dict.fromkeys(tables + depth))

    def run(self, data: str, system: System, seed: int) -> Pass:
        """Return the pass of a system under the settings that were chosen for its kind."""
        step = self.chosen(data, system.skip, deep=len(system.hidden or TOWER) >= DEEP // 2)
        return self._pass(data, system, seed, step)

    def chosen(self, data: str, skip: str, *, deep: bool) -> TowerStep:
        """Return the settings with the least log loss on the prefix, of the DNN without SML, or with it for every skip term."""
        candidates = self._candidates(data, "none" if skip == "none" else SML, deep=deep)
        best = min(candidates, key=lambda run: float(self.results[run].blocks.log_loss.mean()))  # a prefix is one block
        return TowerStep(best.tower_rate, best.tower_accumulator)

    def _candidates(self, data: str, skip: str, *, deep: bool) -> list[Pass]:
        system = System(skip=skip, hidden=(WIDTH,) * DEEP if deep else TOWER)
        return [replace(self._pass(data, system, CHOOSING, step), prefix=True) for step in STEPS]

    def _pass(self, data: str, system: System, seed: int, step: TowerStep) -> Pass:
        network, skip, skip_input, hidden = system
        return Pass(data, self.digests[data], network, skip, skip_input, hidden or TOWER, seed, *step)

    def work(self, run: Pass) -> float:
        """Return the cost of a pass, weights × examples."""
        stream = self.streams[run.data]
        return float(Layout(run.spec(stream.fields)).size * len(stream.labels))

    def task(self, run: Pass) -> Callable[[], Outcome]:
        """Return what makes a pass."""
        return partial(self.learn, run, self.streams[run.data])

    def views(self) -> list[View]:
        """Return every way in which the streams are cut into blocks."""
        found = []
        for data, stream in self.streams.items():
            found.append(View(data, SAMPLES[data].title))
            if len(stream.users):
                found.append(View(data, f"{SAMPLES[data].title}, by user", by_user=True))
        return found

    def estimate(self, view: View, measure: str, outcomes: Sequence[Outcome], baseline: Sequence[Outcome] | None) -> Estimate:
        """Return the mean over seeds, with its interval by bootstrap over seeds × blocks."""
        tallies, less = ([_tally(view, outcome) for outcome in of or ()] for of in (outcomes, baseline))
        return estimate(SCORES[measure], tallies, less or None)

    def contents(self) -> Iterator[str | Table | Figure]:
        """Yield the parts of the page, in order; a figure without a curve is left out."""
        yield HEAD
        yield self._samples()
        yield self._chosen()
        yield from (self.table1(measure) for measure in SCORES)
        yield self.table2()
        yield self._settings_table()
        for name, title, caption, panels in (
            ("figure2", "Figure 2: the logit by depth", CAPTION_2, self.figure2()),
            ("figure3", "Figure 3: how often a neuron is active", CAPTION_3, self._by_layer("share of time active", active_curve)),
            ("figure4", "Figure 4: how alike two examples look", CAPTION_4, self._by_layer("mean cosine similarity", cosine_curve)),
            ("figure5", "Figure 5: AUC and log loss by depth", CAPTION_5, self.figure5()),
            ("figure5_stream", "Figure 5, as the stream goes by", CAPTION_STREAM, self._through_the_stream()),
        ):
            if shown := [panel for panel in panels if any(panel.curves.values())]:
                yield Figure(self.prefix + name, title, caption, shown)
        yield self.depth_table("auc")
        yield self.depth_table("log_loss")

    def _by_layer(self, ylabel: str, curve: Callable[[Layers], Curve]) -> list[Panel]:
        """Return what the layers of one depth do, a curve for each moment, of the first seed."""
        panels = []
        for view, skip, how in self.sides():
            outcome = self.first_seed(view.data, skip).get(SHOWN_DEPTH)
            moments = zip(MOMENTS, outcome.moments[1:], strict=True) if outcome else ()
            curves = {name: curve(moment.layers) for name, moment in moments}
            panels.append(Panel(f"{view.title}, {how}, {SHOWN_DEPTH} layers", "layer", ylabel, curves))
        return panels

    def _through_the_stream(self) -> list[Panel]:
        """Return the AUC within each block of time, a curve for each depth."""
        panels = []
        for view, skip, how in self.sides():
            if self.streams[view.data].ordered:
                by_depth = {depth: self.of_system(view.data, self.deep_system(skip, depth)) for depth in FOLLOWED}
                curves = {f"{depth} layers": _auc_by_block(outcomes.values()) for depth, outcomes in by_depth.items() if outcomes}
                panels.append(Panel(f"{view.title}, {how}", "block", "AUC", curves))
        return panels

    def _settings_table(self) -> Table:
        """Return the DNN under all settings that were tried, over all that is scored: what another choice would have given."""
        rows = []
        for view, step in product(self.data_sets(), STEPS):
            of = [self.known({seed: self._pass(view.data, System(skip=skip), seed, step) for seed in range(self.seeds)}) for skip in SKIPS]
            ours = [*self.compared(view, "log_loss", *of), self.compared(view, "auc", *of)[-1]]
            rows.append(Row((view.title, str(step.rate), str(step.accumulator)), [Cell(ours=value) for value in ours]))
        measures = (*heads("log_loss"), "AUC, difference")
        title = "The DNN under every setting that was tried"
        return Table("online_settings", title, ("data", "rate", "accumulator"), measures, rows, "difference")

    def _samples(self) -> str:
        """Return a table of the streams."""
        rows = []
        for data, stream in self.streams.items():
            sample, scored = SAMPLES[data], stream.labels[stream.scored :]
            size = f"{sample.block // HOUR} hours" if sample.block else f"{ROWS:,} rows"
            counts = f"{len(stream.labels):,}", f"{stream.scored:,}", f"{len(scored):,}", f"{scored.mean():.1%}"
            order = "of time" if stream.ordered else "drawn anew for each seed"
            rows.append((sample.title, *counts, f"{stream.blocks.max() + 1} of {size}", order))
        return markdown_table(("data", "examples", "learned, not scored", "scored", "clicked", "blocks", "order"), rows)

    def _chosen(self) -> str:
        """Return a table of the settings that were chosen."""
        towers = {False: f"below {DEEP // 2} layers, chosen at {len(TOWER)}", True: f"from {DEEP // 2} layers, chosen at {DEEP}"}
        rows = []
        for data, (deep, tower) in product(self.streams, towers.items()):
            steps = [self.chosen(data, skip, deep=deep) for skip in SKIPS]
            rows.append((SAMPLES[data].title, f"{tower}, {WIDTH} wide", *(f"{step.rate}, {step.accumulator}" for step in steps)))
        return markdown_table(("data", "tower", "tower_rate, tower_accumulator without SML", "with a skip term"), rows)


def _tally(view: View, outcome: Outcome) -> Tally:
    """Return the predictions by the blocks of a view."""
    return outcome.users if view.by_user and outcome.users else outcome.blocks


def _auc_by_block(outcomes: Iterable[Outcome]) -> Curve:
    by_seed = [outcome.blocks.auc.diagonal() for outcome in outcomes]
    return {block: Estimate(float(value)) for block, value in enumerate(np.mean(by_seed, axis=0), 1)}
