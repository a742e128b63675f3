"""The buckets that numbers fall into: near ones share one, and with it a row of the table."""

import math

_STEPS = 16  # buckets in an octave, for numbers below 2
_TILE = 8  # buckets that a wide one spans
_MOST_EQUAL = 2.0**52  # equal buckets on either side of zero


def bucket(number: float, width: float | None = None) -> int:
    """Return the bucket of a finite number: the greater number never has the lesser bucket.

    Those of one ``width`` begin at its multiples. Without, they widen with the number: zero has bucket 0, and ``bucket(-x) = -bucket(x)``.
    Up to 2 there are 16 equal steps in each octave [2^e, 2^(e+1)), so that small rates stay apart; from 2 the bucket is that of
    ``log(x)²``, whose steps get wider in x but narrower in proportion.

    >>> [bucket(x) - bucket(1) for x in (0.5, 1, 1.5, 2, 3, 10, 100)]
    [-16, 0, 8, 16, 17, 21, 37]
    >>> [bucket(x, 0.25) for x in (-0.1, 0, 44.9, 45.1)]
    [-1, 0, 179, 180]
    """
    if width:
        return math.floor(_among_equal(number, width))
    if number < 0:
        return -bucket(-number)
    first, within = _among_widening(number)
    return first + int(within)


def tiles(number: float, count: int, width: float | None = None) -> list[int]:
    """Return the wide buckets of a finite number in ``count`` rows of them: each is eight buckets wide, and each row is shifted.

    Two numbers share the more of them, the nearer their buckets are.

    >>> [sum(a == b for a, b in zip(tiles(10, 4), tiles(x, 4))) for x in (10, 11, 15, 100)]
    [4, 4, 3, 0]
    """
    position = _among_equal(number, width) if width else math.copysign(sum(_among_widening(abs(number))), number)
    return [math.floor((position + row * _TILE / count) / _TILE) for row in range(count)]


def _among_equal(number: float, width: float) -> float:
    """Return where a number lies among equal buckets, the width being 1; of no more buckets than can be told apart."""
    return max(-_MOST_EQUAL, min(number / width, _MOST_EQUAL))


def _among_widening(number: float) -> tuple[int, float]:
    """Return where a number that is not negative lies among widening buckets: at a whole one, and how far past it."""
    if number == 0:
        return 0, 0.0
    if number >= 2:  # noqa: PLR2004 - as the docstring of `bucket` has it
        return _BUCKET_OF_TWO, math.log(number) ** 2
    fraction, exponent = math.frexp(number)  # number = fraction · 2^exponent, fraction in [½, 1)
    return (exponent - _LEAST) * _STEPS + 1, (fraction - 0.5) * 2 * _STEPS


_LEAST = math.frexp(math.ulp(0.0))[1]  # exponent of the smallest number above zero
_BUCKET_OF_TWO = (2 - _LEAST) * _STEPS + 1
