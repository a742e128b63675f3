"""Where each dense parameter lies in one flat array, and what it starts from.

Everything dense is one array of parameters and one of accumulators, so that depth and widths are data to the
kernels, a delta is one copy, and torch's modules can be views of the same memory.
"""

from itertools import pairwise
from math import log, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from model.kernels.base_rate import counts_of, log_odds_of
from model.kernels.network import ACCUMULATORS, META, SCALE, SKIP, SQUARE
from model.registry import FIELD, Axes, branch_axes
from model.settings import ModelSettings, Spec
from model.terms import FROM_LAYER, LEARNED, NO_TERM, TERMS, Term

Floats = NDArray[Any]


class Parameter(NamedTuple):
    """One named parameter: where it lies in the flat arrays, and how it is drawn.

    A matrix ``(in, out)`` has one accumulator for each input row, a vector ``(n,)`` one for each weight.
    """

    axes: Axes
    shape: tuple[int, ...]
    start: int
    accumulator_start: int
    mean: float
    std: float

    def of(self, dense: Floats) -> Floats:
        """Return the parameter as a view of ``dense``."""
        return dense[self.start : self.start + prod(self.shape)].reshape(self.shape)

    def accumulators_of(self, accumulators: Floats) -> Floats:
        """Return its accumulators as a view of ``accumulators``."""
        return accumulators[self.accumulator_start : self.accumulator_start + self.shape[0]]


class Layout:
    """The dense parameters of a network, by name and by position.

    For each hidden layer ``i``: ``tower.i.weight (in, out)``, ``tower.i.bias``, and what its skip term has of
    ``skip.i.meta (out, out)``, ``skip.i.meta_bias``, ``skip.i.scale``, ``skip.i.weight``, ``skip.i.square``. Then the branch's,
    if the network has one: for each of its layers ``branch.i.…``, with what its skip term has, and ``branch.output``. Then ``output``,
    ``bias``, and ``defaults (F, d)``, the embeddings of values never seen, which are drawn once and not learned. With records,
    ``records (F, out)`` follows ``tower.0.weight``.

    Attributes:
        layers, terms, branch_parameters: as :class:`~model.kernels.network.Network` has them.
        size, accumulators: the lengths of the two flat arrays.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.parameters: dict[str, Parameter] = {}
        self.size = self.accumulators = 0
        widths = [(FIELD, spec.model.embedding), *((width,) for width in spec.model.hidden)]
        tower = [self._layer(i, *pair) for i, pair in enumerate(pairwise(widths))]
        self.layers = np.array([layer for layer, _ in tower], np.int64)  # (L, 6)
        branch, cross_terms = self._branch()
        lines = [[p.shape[0], p.shape[-1] if len(p.shape) > 1 else 1, p.start, p.accumulator_start] for p in branch]
        self.branch_parameters = np.array(lines, np.int64).reshape(-1, 4)  # (P', 4)
        self.terms = np.array([*(term for _, term in tower), *cross_terms], np.int64)  # (T, 1 + 2 ACCUMULATORS)
        self.output = self._add("output", Axes(widths[-1]), std=0.05)
        self.bias = self._add("bias", Axes((1,)), mean=_first_logit(spec.model))
        self.defaults = self._add("defaults", Axes((FIELD,), (spec.model.embedding,)))

    def _add(self, name: str, axes: Axes, *, mean: float = 0.0, std: float = 0.0) -> Parameter:
        """Append a parameter to the flat arrays."""
        shape = axes.shape(len(self.spec.fields))
        parameter = self.parameters[name] = Parameter(axes, shape, self.size, self.accumulators, mean, std)
        self.size += prod(shape)
        self.accumulators += shape[0]
        return parameter

    def _layer(self, i: int, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> tuple[list[int], list[int]]:
        """Append a layer of the tower and its skip term; return a row of ``layers`` and one of ``terms``."""
        axes = Axes(inputs, outputs)
        shape = axes.shape(len(self.spec.fields))
        weight = self._add(f"tower.{i}.weight", axes, std=(2 / shape[0]) ** 0.5)  # He
        rows = shape[0]
        if i == 0 and self.spec.model.records:  # right behind the weight: to the kernels the two are one matrix
            rows += self._add("records", Axes((FIELD,), outputs), std=weight.std).shape[0]
        bias = self._add(f"tower.{i}.bias", Axes(outputs))
        row = [rows, shape[1], weight.start, bias.start, weight.accumulator_start, bias.accumulator_start]
        return row, self._term(f"skip.{i}", outputs, TERMS[self.spec.model.skip])

    def _term(self, name: str, width: tuple[int, ...], term: Term) -> list[int]:
        """Append what a skip term has; return its row of ``terms``, with zeros for what it has not."""
        (n,) = Axes(width).shape(len(self.spec.fields))
        added = {}
        if term.scale == FROM_LAYER:
            added[META] = self._add(f"{name}.meta", Axes(width, width), std=0.1 / n**0.5)
            added[SCALE] = self._add(f"{name}.meta_bias", Axes(width), mean=1.0)
        if term.scale == LEARNED:
            added[SCALE] = self._add(f"{name}.scale", Axes(width), mean=1.0)
        if term.scale != NO_TERM:
            added[SKIP] = self._add(f"{name}.weight", Axes(width), std=0.01)
        if term.normed:
            added[SQUARE] = self._add(f"{name}.square", Axes(width), mean=1.0)
        row = [n, *[0] * (2 * ACCUMULATORS)]
        for column, parameter in added.items():
            row[column], row[column + ACCUMULATORS] = parameter.start, parameter.accumulator_start
        return row

    def _branch(self) -> tuple[list[Parameter], list[list[int]]]:
        """Append the branch's parameters; return them in the order of their indices in its kernels, and the rows of its skip terms."""
        layers, output, term = branch_axes(self.spec)
        added, terms = [], []
        for i, layer in enumerate(layers):
            for name, axes in layer.items():
                std = 0.0 if name == "bias" else axes.shape(len(self.spec.fields))[0] ** -0.5
                added.append(self._add(f"branch.{i}.{name}", axes, std=std))
            if term.scale != NO_TERM:
                terms.append(self._term(f"branch.{i}.skip", output.rows, term))
        if output.rows:
            added.append(self._add("branch.output", output, std=0.05))
        return added, terms

    def named(self, dense: Floats) -> dict[str, Floats]:
        """Return every parameter as a view of ``dense``."""
        return {name: parameter.of(dense) for name, parameter in self.parameters.items()}

    def initial(self) -> NDArray[np.float32]:
        """Return the parameters before the first example."""
        model = self.spec.model
        random = np.random.default_rng(model.seed)
        dense = np.zeros(self.size, np.float32)
        for parameter in self.parameters.values():
            parameter.of(dense)[...] = parameter.mean + parameter.std * random.standard_normal(parameter.shape)
        # Seeded by the field's name: a field keeps its default when others come and go.
        for field, default in zip(self.spec.fields, self.defaults.of(dense), strict=True):
            of_field = np.random.default_rng([model.seed, xxh3_64_intdigest(field.name.encode())])
            default[...] = model.embedding_std * of_field.standard_normal(model.embedding)
        return dense


def _first_logit(model: ModelSettings) -> float:
    """Return the log-odds of a click before anything was learned."""
    rate = model.click_rate
    if model.base_rate:
        return log_odds_of(counts_of(rate))
    return log(rate / (1 - rate)) if rate else 0.0
