"""Where each dense parameter lies in one flat array, and what it starts from.

Everything dense is one array of parameters and one of accumulators, so that depth and widths are data to the
kernels, a delta is one copy, and torch's modules can be views of the same memory.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from model.settings import Spec
from model.terms import FROM_LAYER, LEARNED, NO_TERM, TERMS, Term

Floats = NDArray[Any]

# The columns of ``Layout.layers``: widths, then where each parameter and its accumulators begin.
IN, OUT, WEIGHT, BIAS, WEIGHT_ACCUMULATORS, BIAS_ACCUMULATORS = range(6)

# The columns of ``Layout.terms``: the width, then where each parameter begins; where its accumulators do is SUMS columns further.
WIDTH, META, SCALE, SKIP, SQUARE = range(5)
SUMS = 4

# The columns of ``Layout.branch_parameters``, a row for each parameter of the branch; a vector has one column.
ROWS, COLUMNS, START, SUM_START = range(4)

NETWORKS = ("dnn", "dcn", "dcn_v2", "deepfm", "xdeepfm", "autoint")
DNN, DCN, DCN_V2, DEEPFM, XDEEPFM, AUTOINT = range(len(NETWORKS))  # what stands beside the tower: ``Layout.branch``


class Parameter(NamedTuple):
    """One named parameter at its position in the flat arrays, and how it is drawn.

    A matrix ``(in, out)`` has one accumulator for each input row, a vector ``(n,)`` one for each weight.
    """

    shape: tuple[int, ...]
    start: int
    sum_start: int
    mean: float
    std: float

    def of(self, dense: Floats) -> Floats:
        """Return the parameter as a view of ``dense``."""
        return dense[self.start : self.start + int(np.prod(self.shape))].reshape(self.shape)

    def accumulators_of(self, accumulators: Floats) -> Floats:
        """Its accumulators as a view of ``accumulators``."""
        return accumulators[self.sum_start : self.sum_start + self.shape[0]]


def branch_shapes(spec: Spec) -> tuple[list[dict[str, tuple[int, ...]]], int]:
    """Return the shapes of each layer's parameters beside the tower, and the width of the branch's output (0 if it has no weights)."""
    model, fields = spec.model, len(spec.fields)
    flat = fields * model.embedding
    match model.network:
        case "dcn":
            return [{"weight": (flat,), "bias": (flat,)}] * model.cross_layers, flat
        case "dcn_v2":
            return [{"weight": (flat, flat), "bias": (flat,)}] * model.cross_layers, flat
        case "xdeepfm":
            maps = pairwise((fields, *model.cin))
            return [{"weight": (inputs * fields, outputs)} for inputs, outputs in maps], sum(model.cin)
        case "autoint":
            widths = (model.embedding, *(model.heads * width for width in model.attention))
            parts = ("query", "key", "value", "residual")
            return [dict.fromkeys(parts, shape) for shape in pairwise(widths)], fields * widths[-1]
    return [], 0


def cross_term(spec: Spec) -> Term:
    """Return what each cross layer adds to the logit."""
    crossed = spec.model.skip_cross and spec.model.network in ("dcn", "dcn_v2")
    return TERMS[spec.model.skip if crossed else "none"]


class Layout:
    """The dense parameters of a network, by name and by position.

    For each hidden layer ``i``: ``tower.i.weight (in, out)``, ``tower.i.bias``, and what its skip term has of
    ``skip.i.meta (out, out)``, ``skip.i.meta_bias``, ``skip.i.scale``, ``skip.i.weight``, ``skip.i.square``. Then the branch's,
    if the network has one: for each of its layers ``branch.i.…``, with what its skip term has, and ``branch.output``. Then ``output``,
    ``bias``, and ``defaults (F, d)``, the embeddings of values never seen, which are drawn once and not learned.
    """

    def __init__(self, spec: Spec) -> None:
        """Lay out the network that ``spec`` describes."""
        self.spec = spec
        self.parameters: dict[str, Parameter] = {}
        self.size = self.accumulators = 0  # of the two flat arrays
        widths = (len(spec.fields) * spec.model.embedding, *spec.model.hidden)
        tower = [(self._layer(i, *pair), self._term(f"skip.{i}", pair[-1])) for i, pair in enumerate(pairwise(widths))]
        self.layers = np.array([layer for layer, _ in tower], np.int64)  # (L, 6)
        self.branch = NETWORKS.index(spec.model.network)
        branch, cross_terms = self._branch()
        branch_parameters = [[p.shape[0], p.shape[-1] if len(p.shape) > 1 else 1, p.start, p.sum_start] for p in branch]
        self.branch_parameters = np.array(branch_parameters, np.int64).reshape(-1, 4)  # (P', 4)
        self.terms = np.array([*(term for _, term in tower), *cross_terms], np.int64)  # (T, 1 + 2 SUMS)
        self.output = self._place("output", (widths[-1],), std=0.05)
        self.bias = self._place("bias", (1,))
        self.defaults = self._place("defaults", (len(spec.fields), spec.model.embedding))

    def _place(self, name: str, shape: tuple[int, ...], *, mean: float = 0.0, std: float = 0.0) -> Parameter:
        parameter = self.parameters[name] = Parameter(shape, self.size, self.accumulators, mean, std)
        self.size += int(np.prod(shape))
        self.accumulators += shape[0]
        return parameter

    def _layer(self, i: int, inputs: int, outputs: int) -> list[int]:
        weight = self._place(f"tower.{i}.weight", (inputs, outputs), std=(2 / inputs) ** 0.5)  # He
        bias = self._place(f"tower.{i}.bias", (outputs,))
        return [inputs, outputs, weight.start, bias.start, weight.sum_start, bias.sum_start]

    def _term(self, name: str, width: int) -> list[int]:
        """Place what a skip term has; nothing where there is none."""
        term = TERMS[self.spec.model.skip]
        placed = {}
        if term.scale == FROM_LAYER:
            placed[META] = self._place(f"{name}.meta", (width, width), std=0.1 / width**0.5)
            placed[SCALE] = self._place(f"{name}.meta_bias", (width,), mean=1.0)
        if term.scale == LEARNED:
            placed[SCALE] = self._place(f"{name}.scale", (width,), mean=1.0)
        if term.scale != NO_TERM:
            placed[SKIP] = self._place(f"{name}.weight", (width,), std=0.01)
        if term.normed:
            placed[SQUARE] = self._place(f"{name}.square", (width,), mean=1.0)
        row = [width, *[0] * (2 * SUMS)]
        for column, parameter in placed.items():
            row[column], row[column + SUMS] = parameter.start, parameter.sum_start
        return row

    def _branch(self) -> tuple[list[Parameter], list[list[int]]]:
        """Place the parameters of what stands beside the tower, in the order in which its kernels count them, and its skip terms."""
        layers, output = branch_shapes(self.spec)
        placed, terms = [], []
        for i, layer in enumerate(layers):
            placed += [self._place(f"branch.{i}.{n}", shape, std=0.0 if n == "bias" else shape[0] ** -0.5) for n, shape in layer.items()]
            if cross_term(self.spec).scale != NO_TERM:
                terms.append(self._term(f"branch.{i}.skip", output))
        if output:
            placed.append(self._place("branch.output", (output,), std=0.05))
        return placed, terms

    def named(self, dense: Floats) -> dict[str, Floats]:
        """Every parameter as a view of ``dense``."""
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
