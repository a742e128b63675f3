"""Arrays that several processes share, by the descriptor of their memory."""

import itertools
import math
import mmap
import os
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_NUMBERS = itertools.count(1)


class SharedMemory:
    """Memory without a name, which every process that is handed its descriptor reaches: gone when the last one is, however it ended.

    Its arrays lie one after another, each on pages of its own, so whoever asks for the same ones in the same order finds them.

    Args:
        descriptor: Of memory that exists, which is closed with this; default: new memory, of zeros.

    Attributes:
        number: Of all that this process has, no other has it.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = os.memfd_create("weights") if descriptor is None else descriptor
        self.number, self._end = next(_NUMBERS), 0

    def __call__(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return the next array.

        Raises:
            MemoryError: there is not enough.
        """
        kind, count = np.dtype(dtype), math.prod(shape) if isinstance(shape, tuple) else shape
        size, start = max(count * kind.itemsize, 1), self._end
        self._end += -(-size // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        try:
            if os.fstat(self.descriptor).st_size < self._end:
                os.ftruncate(self.descriptor, self._end)
            memory = mmap.mmap(self.descriptor, size, offset=start)
        except (OSError, OverflowError, ValueError) as error:
            raise MemoryError(f"{size:,} bytes of shared memory: {error}") from error
        return np.frombuffer(memory, kind, count).reshape(shape)

    def __del__(self) -> None:
        """Let go of it; arrays of it that are still in use stay."""
        with suppress(OSError):
            os.close(self.descriptor)
