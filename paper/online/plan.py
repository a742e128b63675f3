"""Which passes the tables and figures of the stream are made of, after those that settings are chosen by."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from paper.offline.plan import SML, inputs
from paper.online.passes import Pass, Passes
from paper.online.stream import Stream
from paper.published import NETWORKS, TABLE_2

TOWER = (64, 64)
WIDTH = 64  # of every layer of the figures
DEPTHS = (1, 2, 3, 4, 8, 16, 32, 64, 100)
DEEP = 16  # depth that settings are chosen at for towers of 8 layers and more
CHOOSING = 1_000  # the seed of the passes that settings are chosen by; no other has it
SKIPS = (*TABLE_2, "meta_tanh_online")  # the last is not the paper's


class Tower(NamedTuple):
    """Settings of the tower that are chosen on the prefix."""

    rate: float
    accumulator: float


TOWERS = [Tower(rate, accumulator) for rate in (0.003, 0.01, 0.03) for accumulator in (0.001, 0.003, 0.01)]


class Plan(NamedTuple):
    """What is to be learned.

    Attributes:
        streams: the samples, by name.
        digests: of their examples.
        known: what came of the passes so far.
        seeds: how many.
        depths: of the figures.
    """

    streams: Mapping[str, Stream]
    digests: Mapping[str, str]
    known: Passes
    seeds: int
    depths: Sequence[int] = DEPTHS

    def choosing(self) -> list[Pass]:
        """The passes over the prefixes that settings are chosen by."""
        kinds = [(skip, deep) for deep in (False, True) for skip in ("none", SML)]
        return [run for skip, deep in kinds for data in self.streams for run in self._candidates(data, skip, deep=deep)]

    def passes(self) -> list[Pass]:
        """Every pass once, in order: the tables, a seed after the other, then the figures; settings have to be chosen before."""
        seeds = [(seed, data) for seed in range(self.seeds) for data in self.streams]
        tables = [run for seed, data in seeds for run in (*self.tables(data, seed), *self.hindsight(data, seed))]
        cheap_first = sorted(self.streams, key=lambda data: len(self.streams[data].labels))
        depth = [run for data in cheap_first for seed in range(self.seeds) for run in self.depth(data, seed)]
        return list(dict.fromkeys(tables + depth))

    def tables(self, data: str, seed: int) -> Iterator[Pass]:
        """Every skip term of the DNN, before ReLU and after it; then the other networks, without SML and with it."""
        for skip in SKIPS:
            for skip_input in inputs(skip):
                yield self.run(data, seed, skip=skip, skip_input=skip_input)
        for network in NETWORKS:
            for skip in ("none", SML):
                yield self.run(data, seed, network=network, skip=skip)

    def hindsight(self, data: str, seed: int) -> Iterator[Pass]:
        """The DNN under every setting that was tried, without SML and with it."""
        for tower in TOWERS:
            for skip in ("none", SML):
                yield self.under(data, seed, skip, tower)

    def under(self, data: str, seed: int, skip: str, tower: Tower) -> Pass:
        """One pass of the DNN under a setting that need not be the chosen one."""
        return self._pass(data, "dnn", skip, "pre", TOWER, seed, tower)

    def depth(self, data: str, seed: int) -> Iterator[Pass]:
        """The DNN at every depth, without SML and with it."""
        for depth in self.depths:
            for skip in ("none", SML):
                yield self.at_depth(data, seed, skip, depth)

    def at_depth(self, data: str, seed: int, skip: str, depth: int) -> Pass:
        """One pass of the figures."""
        return self.run(data, seed, skip=skip, hidden=(WIDTH,) * depth)

    def run(
        self, data: str, seed: int, *, network: str = "dnn", skip: str = SML, skip_input: str = "pre", hidden: tuple[int, ...] = TOWER
    ) -> Pass:
        """One pass, by the settings that were chosen for its kind."""
        tower = self.chosen(data, skip, deep=len(hidden) >= DEEP // 2)
        return self._pass(data, network, skip, skip_input, hidden, seed, tower)

    def chosen(self, data: str, skip: str, *, deep: bool) -> Tower:
        """The settings with the least log loss on the prefix, of the DNN without SML, or with it for every skip term."""
        candidates = self._candidates(data, "none" if skip == "none" else SML, deep=deep)
        best = min(candidates, key=lambda run: float(self.known[run].blocks.loss.sum()))
        return Tower(best.tower_rate, best.tower_accumulator)

    def _candidates(self, data: str, skip: str, *, deep: bool) -> list[Pass]:
        hidden = (WIDTH,) * DEEP if deep else TOWER
        return [self._pass(data, "dnn", skip, "pre", hidden, CHOOSING, tower)._replace(prefix=True) for tower in TOWERS]

    def _pass(self, data: str, network: str, skip: str, skip_input: str, hidden: tuple[int, ...], seed: int, tower: Tower) -> Pass:
        return Pass(data, self.digests[data], network, skip, skip_input, hidden, seed, tower.rate, tower.accumulator)
