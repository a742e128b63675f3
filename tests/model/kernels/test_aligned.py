"""Arrays begin at the start of a cache line."""

import numpy as np
import pytest

from model.kernels.aligned import LINE, zeros


@pytest.mark.parametrize("shape", [1, 7, (3, 5), (1000, 9)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint64])
def test_zeros_are_numpys_at_the_start_of_a_cache_line(shape: int | tuple[int, ...], dtype: type[np.generic]) -> None:
    several = [zeros(shape, dtype) for _ in range(5)]

    for array in several:
        assert array.ctypes.data % LINE == 0
        assert array.flags.c_contiguous
        assert array.flags.writeable
        np.testing.assert_array_equal(array, np.zeros(shape, dtype), strict=True)
