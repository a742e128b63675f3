"""A row's own record: how often its value was seen and clicked, an input beside its embedding that is counted, not learned.

What a record tells an example is what a server could have known when the example was shown. Time is cut into buckets as long as a label
waits, so in bucket b the labels of bucket b − 2 and of those before it are decided. A row holds three pairs of counts, (n, c), seen and
clicked; k is the newest bucket in which its value was seen:

    decided, of buckets k − 2 and before;   waiting, of bucket k − 1;   waiting, of bucket k

An example in bucket b reads what is decided by b. Reading changes nothing, so it doesn't matter when it is read, or how often. An example
whose time runs back behind bucket k reads what bucket k would; it is counted in its own bucket, and is decided where that is before k − 1.

With p, the click rate of the whole stream, which has a record as a row has, the input is the log-odds of a click above those of p,

    ln (c + a p) / (n − c + a (1 − p)) − ln p / (1 − p),   a = max(PRIOR, PRIOR_INFORMATION / p (1 − p)),

which is 0 for a value never seen. An example's information about the log-odds is p (1 − p): where clicks are rare, two
would hold back nothing, and one click, or two hundred impressions without, would be taken for proof.
"""

from typing import Any, NamedTuple

from numpy.typing import NDArray

from model.kernels.target import inner_ordered_sum, ordered_sum

DECIDED, WAITING, NEWEST, BUCKET = 0, 2, 4, 6  # where each pair of counts begins, and k in two parts, which single precision holds
COLUMNS = 8  # half a cache line
LOW_BITS = 24  # of k, in its second part
MEMORY = 500.0  # examples: of older ones, less and less is kept
PRIOR = 2.0  # examples at the stream's rate, added to a row's own, at least
PRIOR_INFORMATION = 0.165  # of those examples, at least: of two at the 9 % that a stream's own prior has, of 33 at .5 %
PRIOR_SEEN, PRIOR_CLICKED = 5.5, 0.5  # of the stream itself, as in model.kernels.base_rate
_MOST_WAITING = 2.0**20  # examples: single precision still counts exactly


class Records(NamedTuple):
    """The records of the table's ``C`` rows, then that of the whole stream; none where the model has no records."""

    counts: NDArray[Any]  # (C + 1, COLUMNS) or (0, COLUMNS)
    delay: int  # ms, the length of a bucket


@ordered_sum
def newest_bucket(record: NDArray[Any]) -> int:
    """Return the newest bucket in which a record's value was seen."""
    return (int(record[BUCKET]) << LOW_BITS) + int(record[BUCKET + 1])


@inner_ordered_sum
def set_newest_bucket(record: NDArray[Any], bucket: int) -> None:
    """Set the newest bucket, which is below 2⁴⁸: any time that is accepted is."""
    record[BUCKET], record[BUCKET + 1] = bucket >> LOW_BITS, bucket & (2**LOW_BITS - 1)


@inner_ordered_sum
def kept(n: Any, c: Any, most: Any) -> Any:
    """Return the counts, scaled so that they are those of ``most`` examples where they were of more."""
    if n > most:
        return most, c * (most / n)
    return n, c


@ordered_sum
def decided(records: Records, row: int, bucket: int) -> Any:
    """Return the counts ``(n, c)`` that are decided by ``bucket``."""
    counts = records.counts[row]
    newest, most = newest_bucket(counts), counts.dtype.type(MEMORY)
    n, c = counts[DECIDED], counts[DECIDED + 1]
    if bucket > newest:
        n, c = kept(n + counts[WAITING], c + counts[WAITING + 1], most)
    if bucket > newest + 1:
        n, c = kept(n + counts[NEWEST], c + counts[NEWEST + 1], most)
    return n, c


@inner_ordered_sum
def advance(records: Records, row: int, bucket: int) -> None:
    """Move a record on to ``bucket``, where that is newer than its newest."""
    counts = records.counts[row]
    newest = newest_bucket(counts)
    if bucket > newest:
        counts[DECIDED], counts[DECIDED + 1] = decided(records, row, bucket)
        for k in range(2):
            counts[WAITING + k] = counts[NEWEST + k] if bucket == newest + 1 else 0
            counts[NEWEST + k] = 0
        set_newest_bucket(counts, bucket)


@ordered_sum
def observe(records: Records, row: int, bucket: int, seen: Any, clicked: Any) -> None:
    """Count an example of ``bucket``: ``seen`` and ``clicked`` are its weights."""
    counts = records.counts[row]
    advance(records, row, bucket)
    newest = newest_bucket(counts)
    at, most = DECIDED, counts.dtype.type(MEMORY)
    if bucket >= newest - 1:
        at, most = NEWEST if bucket == newest else WAITING, counts.dtype.type(_MOST_WAITING)
    counts[at], counts[at + 1] = kept(counts[at] + seen, counts[at + 1] + clicked, most)


@ordered_sum
def prior(records: Records, bucket: int) -> Any:
    """Return the counts that a row's own are added to, ``a (1 − p)`` and ``a p``, of others and of clicks."""
    n, c = decided(records, records.counts.shape[0] - 1, bucket)
    number = records.counts.dtype.type
    p = min((c + number(PRIOR_CLICKED)) / (n + number(PRIOR_SEEN)), number(1) - number(1) / number(MEMORY))
    a = max(number(PRIOR), number(PRIOR_INFORMATION) / (p * (number(1) - p)))
    return a * (number(1) - p), a * p


@ordered_sum
def odds(records: Records, row: int, bucket: int, others: Any, clicks: Any) -> Any:
    """Return the odds of a click on a row's value, by what is decided, over the stream's; ``others`` and ``clicks`` are the prior."""
    n, c = decided(records, row, bucket)
    return ((c + clicks) * others) / ((max(n - c, n * 0) + others) * clicks)
