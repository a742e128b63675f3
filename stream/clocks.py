"""How far the clocks of joiner and learners are from the log's: each heartbeat says when it was passed on, and its record when it came."""

from stream.log.contract import Log
from stream.log.reading import read_all
from stream.records.heartbeat import decode_heartbeat, is_heartbeat

_LAST = 100  # offsets of a partition that are looked at


def clock_ahead(log: Log, topic: str, partitions: int, hops: int) -> float | None:
    """Return by how many seconds the clock of the process that passes heartbeats on is ahead of the log's.

    The least delay among the last few is left in it: a clock that is right seems to be some milliseconds behind.

    Args:
        log: The log.
        topic: The topic that the process writes them to.
        partitions: In how many of its partitions, from the first.
        hops: How many hops they have behind them there.

    Returns:
        None if there are none.
    """
    bounds = log.bounds(topic)
    start = {p: bounds[p].newest(_LAST) for p in range(partitions)}
    found = [
        heartbeat.reached - record.timestamp
        for record in read_all(log, topic, start, {p: bounds[p].end for p in start})
        if is_heartbeat(record) and (heartbeat := decode_heartbeat(record, hops))
    ]
    return max(found) / 1000 if found else None
