"""Arrays begin at the start of a cache line; scratch arrays have the shapes that were asked for, and share no memory."""

from typing import Any

import numpy as np
import pytest

from model.kernels.memory import LINE, Scratch, allocate, array1, array2, array3, array4, zeros
from model.kernels.target import kernel

SHAPES = [(3,), (2, 3), (4, 1, 2), (2, 2, 1, 3)]


@pytest.mark.parametrize("shape", [1, 7, (3, 5), (1000, 9)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint64])
def test_zeros_are_numpys_at_the_start_of_a_cache_line(shape: int | tuple[int, ...], dtype: type[np.generic]) -> None:
    several = [zeros(shape, dtype) for _ in range(5)]

    for array in several:
        assert array.ctypes.data % LINE == 0
        assert array.flags.c_contiguous
        assert array.flags.writeable
        np.testing.assert_array_equal(array, np.zeros(shape, dtype), strict=True)


@kernel
def number(scratch: Scratch) -> Any:
    """Fill each array with its number; return their shapes."""
    one, two, three, four = array1(scratch, 0), array2(scratch, 1), array3(scratch, 2), array4(scratch, 3)
    one[...], two[...], three[...], four[...] = 1, 2, 3, 4
    return one.shape, two.shape, three.shape, four.shape


def test_scratch_arrays_have_their_shapes_and_do_not_overlap() -> None:
    scratch = allocate(SHAPES, np.float32)
    assert not scratch.memory.any()

    shapes = number(scratch)

    assert list(shapes) == SHAPES
    sizes = [int(np.prod(shape)) for shape in SHAPES]
    assert scratch.memory.tolist() == np.repeat([1, 2, 3, 4], sizes).tolist()


def test_a_branch_without_scratch_has_none() -> None:
    assert len(allocate([], np.float64).memory) == 0
