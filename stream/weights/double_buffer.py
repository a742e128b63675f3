"""Two copies of the weights: deltas → the spare copy → in service, each state checked by its digest.

The spare copy is brought up to date and goes into service as a whole. Only then the other copy, which nobody reads any more, is
brought up to the same state.
"""

from collections.abc import Callable, Iterable
from typing import Self, TypeAlias

from model.array_file import Arrays
from model.settings import Spec
from model.weights import Memory, Weights
from stream.weights.chunks import BrokenWeightsError, Packed, WeightsHeader, most_chunks, unpack

_MISFITS = (KeyError, IndexError, TypeError, ValueError)  # raised for arrays of other names, shapes, positions or types

NewMemory: TypeAlias = Callable[[], Memory | None]


class NewLineageError(BrokenWeightsError):
    """The next version is no change of the one before: the weights were rolled back, or were learned by other kernels."""


class DoubleBuffer:
    """Two copies of the weights: one may be in service while the other, the spare, is brought up to date.

    Attributes:
        header: Which version the spare is.
    """

    def __init__(self, header: WeightsHeader, weights: Weights, memory: NewMemory = lambda: None) -> None:
        """Begin with ``weights`` as the spare; the other copy is made in ``memory``.

        Raises:
            BrokenWeightsError: their digest is not that of ``header``.
        """
        self.header, self._memory = header, memory
        self._spare = weights
        self._other: Weights | None = None
        self._new = True  # the spare is newer than the weights in service
        self._missed: list[Arrays] = []  # the deltas that the other copy has yet to apply
        _check(header, weights)

    @classmethod
    def of_snapshot(cls, data: bytes, memory: NewMemory = lambda: None) -> Self:
        """Begin with the weights of a snapshot; both copies are made in ``memory``.

        Raises:
            BrokenWeightsError: it holds no weights, or others than were published.
        """
        return cls.of(unpack(data), memory)

    @classmethod
    def of(cls, packed: Packed, memory: NewMemory = lambda: None) -> Self:
        """Begin with the weights in ``packed``, as :meth:`of_snapshot` does.

        Raises:
            BrokenWeightsError: it holds no weights, or others than were published.
        """
        header, arrays, entries = packed
        try:
            weights = Weights.from_arrays(Spec.model_validate(entries["spec"]), arrays, memory())
        except (*_MISFITS, ArithmeticError, MemoryError) as error:
            raise BrokenWeightsError(f"the snapshot of version {header.version} holds no weights: {error!r}") from error
        return cls(header, weights, memory)

    def most_chunks(self) -> int:
        """Return of how many chunks a delta can be: one that changes every row."""
        weights = self._spare
        rows = weights.keys, weights.keys, weights.rows, weights.records.counts  # a row's position is as large as its key
        return most_chunks([weights.dense, *rows])

    def apply(self, deltas: Iterable[Packed]) -> None:
        """Apply ``deltas`` to the spare.

        Raises:
            NewLineageError: a version is no change of the one before.
            BrokenWeightsError: a delta is not the next one, or results in other weights than were published.
        """
        for header, arrays, _ in deltas:
            if header.version <= self.header.version:
                continue  # the snapshot has it
            if header.base is None:
                raise NewLineageError(f"version {header.version} begins anew, from its snapshot")
            if header.base != self.header.version:
                raise BrokenWeightsError(f"version {header.version} changes version {header.base}, expected {self.header.version}")
            try:
                self._spare.apply(arrays)
            except _MISFITS as error:
                raise BrokenWeightsError(f"version {header.version} does not fit the weights: {error!r}") from error
            _check(header, self._spare)
            self.header, self._new = header, True
            if self._other is not None:
                self._missed.append(arrays)

    def hand_over(self, put: Callable[[WeightsHeader, Weights], None]) -> bool:
        """Put the spare into service by ``put`` if it is newer, then bring the other copy up to date; return whether it was newer."""
        if not self._new:
            return False
        put(self.header, self._spare)
        other = self._other or self._spare.copy(self._memory())
        for arrays in self._missed:
            other.apply(arrays)
        self._spare, self._other = other, self._spare
        self._new, self._missed = False, []
        return True


def _check(header: WeightsHeader, weights: Weights) -> None:
    if (digest := weights.digest()) != header.digest:
        raise BrokenWeightsError(f"version {header.version} has the digest {digest}, expected {header.digest}")
