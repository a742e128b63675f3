"""Arrays that start at a cache line, and several arrays in one piece of memory."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from model.kernels.target import view

LINE = 64  # bytes
MOST_AXES = 4


def zeros(shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return what ``numpy.zeros`` returns, but aligned to a cache line: a vector that lies across two lines takes two reads.

    Steps of the same network are then as fast in every process.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(size + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    return memory[start : start + size].view(dtype).reshape(shape)


class Scratch(NamedTuple):
    """``A`` arrays in one piece of memory, allocated once for a model.

    They are told apart by their numbers, so a kernel that takes it is compiled once for all their shapes.
    """

    memory: NDArray[Any]  # (R,), one array after another
    starts: NDArray[np.int64]  # (A + 1,), where each starts, and where the last ends
    shapes: NDArray[np.int64]  # (A, MOST_AXES), the axes of each, then zeros


def allocate(shapes: Iterable[tuple[int, ...]], dtype: DTypeLike) -> Scratch:
    """Return zeroed arrays of these shapes; a kernel finds each by its index among them."""
    listed = [tuple(map(int, shape)) for shape in shapes]
    starts = np.cumsum([0, *(np.prod(shape) for shape in listed)]).astype(np.int64)
    padded = [shape + (0,) * (MOST_AXES - len(shape)) for shape in listed]
    return Scratch(zeros(int(starts[-1]), dtype), starts, np.array(padded, np.int64).reshape(-1, MOST_AXES))


@view
def array1(scratch: Scratch, index: int) -> NDArray[Any]:
    """Return the array at ``index`` as a vector."""
    return scratch.memory[scratch.starts[index] : scratch.starts[index + 1]]


@view
def array2(scratch: Scratch, index: int) -> NDArray[Any]:
    """Return the array at ``index``, which has two axes."""
    shape = scratch.shapes[index]
    return array1(scratch, index).reshape(shape[0], shape[1])


@view
def array3(scratch: Scratch, index: int) -> NDArray[Any]:
    """Return the array at ``index``, which has three axes."""
    shape = scratch.shapes[index]
    return array1(scratch, index).reshape(shape[0], shape[1], shape[2])


@view
def array4(scratch: Scratch, index: int) -> NDArray[Any]:
    """Return the array at ``index``, which has four axes."""
    shape = scratch.shapes[index]
    return array1(scratch, index).reshape(shape[0], shape[1], shape[2], shape[3])
