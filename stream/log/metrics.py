"""The metrics of a log in a file: how large it is, how much of each topic it holds and has deleted, and how long it keeps it.

Kafka's brokers have their own.
"""

import math
from functools import partial

from prometheus_client import CollectorRegistry, Gauge

from stream.log.contract import Bounds, Log, LogError
from stream.log.topics import Topics


def measure(log: Log, topics: Topics, registry: CollectorRegistry) -> None:
    """Register the metrics; each is read when it is asked for."""
    if not log.file_sizes():
        return
    size = Gauge("sml_log_file_bytes", "Bytes of the log's file, and of its write-ahead log.", ["file"], registry=registry)
    for name in log.file_sizes():
        size.labels(name).set_function(partial(lambda log, name: log.file_sizes()[name], log, name))
    held = Gauge("sml_log_held_records", "Records that a topic holds.", ["topic"], registry=registry)
    deleted = Gauge("sml_log_deleted_records", "Records that retention has deleted from a topic.", ["topic"], registry=registry)
    kept = Gauge("sml_log_retention_seconds", "How long a topic keeps its records at most.", ["topic"], registry=registry)
    for topic in (topics.impressions, topics.clicks, topics.examples, topics.versions, topics.weights, topics.dead_letters):
        held.labels(topic).set_function(partial(_held, log, topic))
        deleted.labels(topic).set_function(partial(_deleted, log, topic))
        kept.labels(topic).set_function(partial(_kept, log, topic))


def _held(log: Log, topic: str) -> int:
    return sum(each.end - each.first for each in _bounds(log, topic))


def _deleted(log: Log, topic: str) -> int:
    return sum(each.first for each in _bounds(log, topic))


def _kept(log: Log, topic: str) -> float:
    try:
        seconds = log.retention(topic).seconds
    except LogError:
        return math.nan
    return math.inf if seconds is None else seconds


def _bounds(log: Log, topic: str) -> list[Bounds]:
    try:
        return list(log.bounds(topic).values())
    except LogError:  # it has not been created, or the log is away
        return []
