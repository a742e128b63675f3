"""What is published and served: everything a prediction needs, as flat named arrays that the kernels work on in place.

Its digest names it: equal weights have equal digests, whoever computes them.
"""

from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray
from xxhash import xxh3_128_hexdigest

from model.array_file import Arrays
from model.digest import rehash
from model.encoding.features import Features
from model.exploration import PRIOR
from model.kernels.delay import corrected
from model.kernels.exploration import add_variances
from model.kernels.forward import Workspace, found_scratch, predict, workspace
from model.kernels.memory import zeros
from model.kernels.network import Activations, Network
from model.kernels.rows.record import COLUMNS, Records
from model.kernels.rows.table import find
from model.kernels.target import specialized
from model.kernels.tower.batch import Batch, batch_of
from model.layout import Layout
from model.registry import NETWORKS
from model.settings import Spec
from model.terms import FROM_LAYER, TERMS

_BLOCK = 65_536  # rows that are copied at once


def sigmoid(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return probabilities, in float64: ``1 / (1 + exp(-logit))``."""
    return 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))


class Memory(Protocol):
    """Hands out the arrays of weights, one after the other."""

    def __call__(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return the next array: of zeros, unless the memory was used before.

        Raises:
            MemoryError: there is not enough.
        """
        ...


class Weights:
    """Everything a prediction needs: dense parameters, and the rows of the table.

    Attributes:
        dense: the dense parameters, ``(P,)``, laid out by :class:`~model.layout.Layout`.
        keys: the table's keys, ``(C,)``; 0 is an empty row.
        rows: embedding and wide weight of each row, ``(C, d + 1)``.
        records: each row's own record.
        memory: where they lie; None: in this process's own.
    """

    def __init__(self, spec: Spec, dtype: type[np.floating] = np.float32, memory: Memory | None = None) -> None:
        """Begin with the first parameters and an empty table; with ``memory``, with what its arrays hold, in the order asked for here."""
        capacity, take = spec.table.capacity, memory or zeros
        self.spec, self.memory = spec, memory
        self.layout = Layout(spec)
        self.dense = take(self.layout.size, dtype)
        if memory is None:
            self.dense[...] = self.layout.initial()
        self.keys = take(capacity, np.uint64)
        self.rows = take((capacity, spec.model.embedding + 1), dtype)
        recorded = capacity + 1 if spec.model.records else 0
        self.records = Records(take((recorded, COLUMNS), dtype), max(spec.label_delay, 1))
        self._predict = specialized(predict)
        self._add_variances = specialized(add_variances)
        self._hashes = np.zeros(capacity, np.uint64)
        self._hash = np.zeros(1, np.uint64)  # their sum

    @classmethod
    def from_arrays(cls, spec: Spec, arrays: Arrays, memory: Memory | None = None) -> Self:
        """Return the weights that :meth:`arrays` returned, in new ``memory``.

        Raises:
            KeyError: an array is missing.
            ValueError: an array is not of the spec; no memory was taken.
            MemoryError: there is not enough for the table.
        """
        check_size(spec, arrays)
        weights = cls(spec, memory=memory)
        weights.apply(arrays)
        return weights

    def copy(self, memory: Memory | None = None) -> Self:
        """Return a copy, in new ``memory``; pages that hold no row are not taken."""
        copy = type(self)(self.spec, self.dense.dtype.type, memory)
        copy.dense[...], copy.records.counts[-1:] = self.dense, self.records.counts[-1:]
        copy._hash[...] = self._hash  # noqa: SLF001 - of the same class
        arrays = [(self.keys, copy.keys), (self.rows, copy.rows), (self._hashes, copy._hashes)]  # noqa: SLF001
        if self.spec.model.records:
            arrays.append((self.records.counts, copy.records.counts))
        for start in range(0, len(self.keys), _BLOCK):
            positions = start + np.flatnonzero(self.keys[start : start + _BLOCK])
            for own, other in arrays:
                other[positions] = own[positions]
        return copy

    def network(self, accumulators: NDArray[Any] | None = None) -> Network:
        """Return the dense half as the kernels see it, with Adagrad's accumulators (none where nothing is learned)."""
        layout, model, term = self.layout, self.spec.model, TERMS[self.spec.model.skip]
        return Network(
            self.dense,
            self.dense[:0] if accumulators is None else accumulators,
            layout.layers,
            layout.terms,
            output=layout.output.start,
            output_accumulator=layout.output.accumulator_start,
            bias=layout.bias.start,
            bias_accumulator=layout.bias.accumulator_start,
            defaults=layout.defaults.start,
            scale=term.scale,
            activation=term.activation,
            normed=term.normed,
            deferred=term.scale == FROM_LAYER and model.skip_input == "pre" and accumulators is not None,
            pre=model.skip_input == "pre",
            wide=model.wide,
            branch_parameters=layout.branch_parameters,
            fields=len(self.spec.fields),
            embedding=model.embedding,
            heads=model.heads,
        )

    def workspace(self, network: Network) -> Workspace:
        """Allocate what one example's pass through ``network`` needs."""
        return workspace(network, NETWORKS[self.spec.model.network].branch)

    @cached_property
    def _workspace(self) -> Workspace:
        return self.workspace(self.network())

    @cached_property
    def _batch(self) -> Batch:
        return batch_of(self.network())

    def predict(self, features: Features) -> NDArray[Any]:
        """Return the logit of each example, ``(N,)``. Call it from one thread at a time."""
        logits = np.empty((features.starts.shape[0] - 1) // len(self.spec.fields), self.dense.dtype)
        features = features.contiguous(len(logits))
        network = self.network()
        scratch = self._workspace, self._batch, found_scratch(network, features)
        self._predict(network, *scratch, self.keys, self.rows, self.records, features, logits)
        return logits

    @property
    def activations(self) -> Activations:
        """What the last prediction has left in the network, of its last example."""
        return self._workspace.act

    def probabilities(self, features: Features) -> NDArray[np.float64]:
        """Return the probability of a click on each example, ``(N,)``."""
        logits = self.predict(features)
        return corrected(logits) if self.spec.label_policy == "fnc" else sigmoid(logits)

    def spreads(self, features: Features, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how uncertain the logit of each of N candidates is beside the others, ``(N,)``: see :mod:`model.exploration`.

        It is 0 where the model has no records, which would tell.
        """
        variances, fields = np.zeros(len(probabilities)), len(self.spec.fields)
        if self.spec.model.records:
            told = probabilities * (1 - probabilities)
            self._add_variances(self.keys, self.records, features.contiguous(len(told)), fields, PRIOR**2, told, variances)
        return np.sqrt(variances)

    def has(self, key: int) -> bool:
        """Return whether a value has a row."""
        return bool(find(self.keys, np.uint64(key)) >= 0)

    def digest(self) -> str:
        """Return a digest of 128 bits over the dense parameters and every occupied row's position, key and values, records included."""
        return xxh3_128_hexdigest(self.dense.tobytes() + self._hash.tobytes() + self.records.counts[-1:].tobytes())

    def rehash(self, positions: NDArray[np.int64]) -> None:
        """Update the digest after the rows at ``positions`` have changed."""
        rehash(
            self.keys,
            self.rows.view(np.uint32),
            positions,
            self._hashes,
            self._hash,
            self.records.counts.view(np.uint32),
        )

    def by_key(self) -> NDArray[np.int64]:
        """Return the positions of the occupied rows, by ascending key."""
        positions = np.flatnonzero(self.keys)
        return positions[np.argsort(self.keys[positions])]

    def arrays(self, positions: NDArray[np.int64] | None = None) -> Arrays:
        """Return copies of the dense parameters and of the rows at ``positions`` (default: all that are occupied)."""
        if positions is None:
            positions = np.flatnonzero(self.keys)
        arrays = {"dense": self.dense.copy(), "positions": positions, "keys": self.keys[positions], "rows": self.rows[positions]}
        if self.spec.model.records:
            arrays["records"] = self.records.counts[self._with_stream(positions)]
        return arrays

    def _with_stream(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions of these rows' records, and that of the stream's."""
        return np.append(positions, len(self.keys))

    def apply(self, arrays: Arrays) -> None:
        """Overwrite the dense parameters and the rows named in ``arrays``.

        Raises:
            KeyError: an array is missing; nothing was changed.
            ValueError: an array has another type or shape, or a position is outside the table; nothing was changed.
        """
        self._check(arrays)
        positions = arrays["positions"]
        self.dense[...] = arrays["dense"]
        self.keys[positions] = arrays["keys"]
        self.rows[positions] = arrays["rows"]
        if self.spec.model.records:
            self.records.counts[self._with_stream(positions)] = arrays["records"]
        self.rehash(positions)

    def _check(self, arrays: Arrays) -> None:
        """Raise an error unless ``arrays`` fit."""
        positions = arrays["positions"]
        count = len(positions)
        expected = {
            "dense": (self.dense.dtype, self.dense.shape),
            "positions": (np.dtype(np.int64), (count,)),
            "keys": (self.keys.dtype, (count,)),
            "rows": (self.rows.dtype, (count, self.rows.shape[1])),
        }
        if self.spec.model.records:
            expected["records"] = (self.rows.dtype, (count + 1, COLUMNS))
        for name, own in expected.items():
            got = (arrays[name].dtype, arrays[name].shape)
            if got != own:
                raise ValueError(f"{name}: got {got}, expected {own}")
        if count and not 0 <= positions.min() <= positions.max() < len(self.keys):
            raise ValueError(f"positions: got {positions.min()} to {positions.max()}, expected those of {len(self.keys)} rows")


def check_size(spec: Spec, arrays: Arrays) -> None:
    """Make sure that a network of ``spec`` is as large as the one in ``arrays``, before memory is taken for it.

    Raises:
        KeyError: there is none.
        ValueError: it has another size.
    """
    if (size := Layout(spec).size) != (got := arrays["dense"].size):
        raise ValueError(f"dense: got {got} parameters, expected {size}")
