"""Measured unit costs, each with the page that says how it was measured. Seconds, bytes, a second; on cores of an AMD EPYC."""

ITEM = 1 / 18_350  # sml bench learn --log: an example from Kafka, decoded, predicted, learned, published: processor time, 17,400 to 19,300
PUBLISH_EVERY = 0.1  # the default of [learn] publish_every
VERSION = {"sqlite": 0.005, "kafka": 0.020}  # benchmarks/freshness/publish.md: a version into the log and to its reader
DELTA_SERVED = {"sqlite": 0.008, "kafka": 0.013}  # benchmarks/freshness/publish.md: a delta applied, in service, and the first answer
# Half of a transaction is waited for, then comes one's own: medians of what waits. Kafka's is of a heartbeat, which waits twice:
# benchmarks.freshness.heartbeat --rate 2000: its hops log, join and learn, 36 + 1 + 22 ms.
JOIN_TRANSACTION = {"sqlite": 14 / 1.5e3, "kafka": 59 / 3e3}  # SQLite's: benchmarks/freshness/publish.md
REQUEST = 1 / 786  # benchmarks/serving/predict.md: 100 candidates of 20 fields, of two cores that the load shares
SHED_AFTER = 0.020  # deploy/limits.md
# benchmarks.learning.pipeline --log --broker: processor time of an event, from replayed to served, each the middle of what was measured
PIPELINE = {"replay": 41e-6, "join": 33.5e-6, "learn": 41.5e-6, "serve": 10e-6, "broker": 33e-6}

WAITING = 172  # benchmarks/joining/joining.md: bytes of memory for an impression that waits, beside its own
BUDGET = 10_000_000  # stream/learn/publish.py: bytes of deltas a second


def row(embedding: int = 8, *, records: bool = True) -> tuple[int, int]:
    """Return the bytes of a row of the table: of a learner, and of one copy of a server.

    Parameters, record, key and its hash; a learner's also accumulators, last use, and whether it was touched (model/online.py).
    """
    values, record = 4 * (embedding + 1), 32 * records
    return 2 * values + record + 8 + 8 + 1 + 8, values + record + 8 + 8
