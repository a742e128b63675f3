"""Scratch arrays have the shapes that were asked for, and share no memory."""

from typing import Any

import numpy as np

from model.kernels.scratch import Scratch, allocate, array1, array2, array3, array4
from model.kernels.target import kernel

SHAPES = [(3,), (2, 3), (4, 1, 2), (2, 2, 1, 3)]


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
