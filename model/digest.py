"""A digest of the table, the sum of its rows' hashes: an update costs only the rows that have changed."""

import numpy as np
from numpy.typing import NDArray

from model.kernels.target import inner, kernel

_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ over the golden ratio
_SHIFT = np.uint64(32)


@inner
def mix(value: np.uint64) -> np.uint64:
    """Spread every bit over all 64 (the finaliser of splitmix64, Steele et al. 2014)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@inner
def absorb(value: np.uint64, bits: NDArray[np.uint32]) -> np.uint64:
    """Return a hash of a hash and of ``bits``, in their order."""
    for k in range(bits.shape[0]):
        value = (value ^ np.uint64(bits[k])) * _ODD
        value ^= value >> _SHIFT
    return value


@kernel
def rehash(
    keys: NDArray[np.uint64],
    bits: NDArray[np.uint32],
    positions: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    total: NDArray[np.uint64],
    record_bits: NDArray[np.uint32],
) -> None:
    """Update ``hashes (C,)`` and their sum ``total (1,)`` for the rows at ``positions``; the hash of an empty row is 0.

    ``bits (C, d + 1)`` and ``record_bits`` are the values of rows and of their records (there may be none) as they lie in memory, so that
    a difference in the last bit shows.
    """
    for position in positions:
        value = np.uint64(0)
        if keys[position] != 0:
            value = mix(keys[position] + np.uint64(position) * _ODD)
            value = absorb(value, bits[position])
            if record_bits.shape[0] > 0:
                value = absorb(value, record_bits[position])
        total[0] += value - hashes[position]
        hashes[position] = value
