"""Which runs each table and figure is made of, in the order in which they are worth having: a seed of everything, then the next."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from model.terms import TERMS
from paper.offline.run import Recipe, Run
from paper.published import NETWORKS, TABLE_2

TOWERS: dict[str, tuple[int, ...]] = {"criteo": (1024, 512, 256), "avazu": (1024, 512)}
SML = "meta_tanh"
WIDTH = 400  # of every layer of Figure 5
DEPTHS = (1, 2, 4, 8, 16, 27, 32, 64, 100)
PARTS = ("table1", "table2", "depth")


class Source(NamedTuple):
    """Encoded data."""

    data: str  # its name
    digest: str  # of its contents
    rows: int
    least: int  # occurrences from which a category was kept
    folder: Path

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read what :func:`paper.offline.preprocess.encode` says of ``folder``."""
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        return cls(meta["name"], meta["digest"], meta["rows"], meta["least"], folder)


class Plan(NamedTuple):
    """What is to be run.

    Attributes:
        sources: the data sets.
        recipe: how networks are trained.
        seeds: of the tables.
        depth_seeds: of the figures.
        depths: of the figures.
        parts: some of ``PARTS``.
    """

    sources: Sequence[Source]
    recipe: Recipe
    seeds: int = 5
    depth_seeds: int = 1
    depths: Sequence[int] = DEPTHS
    parts: Sequence[str] = PARTS

    def runs(self) -> list[Run]:
        """Every run once, in order."""
        every = [run for seed in range(max(self.seeds, self.depth_seeds)) for run in self._of_seed(seed)]
        return list(dict.fromkeys(every))

    def _of_seed(self, seed: int) -> Iterator[Run]:
        parts = ("table1", self.table1, self.seeds), ("table2", self.table2, self.seeds), ("depth", self.depth, self.depth_seeds)
        for name, part, seeds in parts:
            if name in self.parts and seed < seeds:
                for source in self.sources:
                    yield from part(source, seed)

    def table1(self, source: Source, seed: int) -> Iterator[Run]:
        """Six networks, without SML and with it."""
        for network in NETWORKS:
            for skip in ("none", SML):
                yield self.run(source, seed, network=network, skip=skip)

    def table2(self, source: Source, seed: int) -> Iterator[Run]:
        """Every skip term of the DNN, before ReLU and after it."""
        for skip in TABLE_2:
            for skip_input in inputs(skip):
                yield self.run(source, seed, skip=skip, skip_input=skip_input)

    def depth(self, source: Source, seed: int) -> Iterator[Run]:
        """The DNN at every depth, without SML and with it."""
        for depth in self.depths:
            for skip in ("none", SML):
                yield self.at_depth(source, seed, skip, depth)

    def at_depth(self, source: Source, seed: int, skip: str, layers: int) -> Run:
        """The DNN of so many layers, all of one width."""
        return self.run(source, seed, skip=skip, hidden=(WIDTH,) * layers)

    def run(
        self,
        source: Source,
        seed: int,
        *,
        network: str = "dnn",
        skip: str = SML,
        skip_input: str = "pre",
        hidden: tuple[int, ...] | None = None,
    ) -> Run:
        """One run; the paper's tower unless ``hidden`` says otherwise. ``relu``, whatever it reads, is ``vanilla`` after ReLU."""
        if skip == "relu":
            skip, skip_input = "vanilla", "post"
        return Run(source.data, source.digest, network, skip, skip_input, hidden or TOWERS[source.data], seed, self.recipe)


def inputs(skip: str) -> tuple[str, ...]:
    """What a term may read: there is nothing to choose where there is no term.

    >>> inputs("none"), inputs("tanh")
    (('pre',), ('pre', 'post'))
    """
    return ("pre",) if TERMS[skip] == TERMS["none"] else ("pre", "post")  # type: ignore[index]
