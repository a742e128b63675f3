"""Measured unit costs, each with the page that says how it was measured. Seconds, bytes, a second; on cores of an AMD EPYC."""

ITEM = 1 / 26_188  # benchmarks/learn.md: an example from Kafka, decoded, predicted, learned, published: processor time
PUBLISH_EVERY = 0.1  # the default of [learn] publish_every
VERSION = {"sqlite": 0.005, "kafka": 0.020}  # benchmarks/publish.md: a version into the log and to its reader
DELTA_SERVED = {"sqlite": 0.008, "kafka": 0.013}  # benchmarks/publish.md: a delta applied, in service, and the first answer
FROM_CLICK = {"sqlite": (0.006, 0.010), "kafka": (0.040, 0.021)}  # the same two, where a joiner shares the two cores
JOIN_TRANSACTION = {"sqlite": 14 / 1.5e3, "kafka": 99 / 1.5e3}  # the same page: a click waits for half of one, then for its own
REQUEST = 1 / 490  # benchmarks/predict.md: 100 candidates of 20 fields
SHED_AFTER = 0.020  # deploy/limits.md

EVENT = 400  # benchmarks/learn.md: bytes of an impression or an example of 22 fields
JOIN = 133_896  # benchmarks/joining.md: events a second of a core
WAITING = 324  # benchmarks/joining.md: bytes of memory for an impression that waits, beside its own
BUDGET = 10_000_000  # stream/learn/publish.py: bytes of deltas a second


def row(embedding: int = 8, *, records: bool = True) -> tuple[int, int]:
    """Return the bytes of a row of the table: of a learner, and of one copy of a server.

    Parameters, record, key and its hash; a learner's also accumulators, last use, and whether it was touched (model/online.py).
    """
    values, record = 4 * (embedding + 1), 32 * records
    return 2 * values + record + 8 + 8 + 1 + 8, values + record + 8 + 8


def delta_row(embedding: int = 8, *, records: bool = True) -> int:
    """Return the bytes of a row in a delta: its position, key and values (model/weights.py)."""
    return 8 + 8 + 4 * (embedding + 1) + 32 * records
