"""``sml bench publish``: the time from an append to the log to the first answer by weights that learned it, hop by hop.

Every append of the stream is a probe: its last example or, through the joiner, the example of its last click. The first version whose
offsets pass the example has learned it. The server is asked every few milliseconds by which version it answers. All times are of this
machine's clock.
"""

import bisect
import http.client
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

import msgspec
import numpy as np

from service.bench.site import Site, appends, paced, request, running, visits
from stream.log.connect import open_log
from stream.log.contract import Log, Message
from stream.records.events import decode_example
from stream.records.heartbeat import is_heartbeat
from stream.records.version import Version, decode_version

ASK_EVERY = 0.003  # seconds
POLICY = "fnw"  # the joiner's: impressions and clicks become examples at once
_START_TIMEOUT = 300.0  # seconds until the first example is learned
_SETTLE_TIME = 5.0  # seconds of learning before the first probe counts
_ANSWER_TIME = 3.0  # seconds for the last probe to be answered


class Freshness(NamedTuple):
    """One hop's line of ``sml bench publish``, in ms."""

    hop: str
    p50: float
    p95: float
    p99: float


class _Seen(NamedTuple):
    """What was observed, each with its time, in seconds since the epoch, ascending."""

    acknowledged: list[tuple[float, bytes]]  # the key of each probe: of an example, or of a click
    examples: dict[bytes, tuple[float, int]]  # when an example was in the log, and its offset, by its key
    versions: list[tuple[float, Version]]
    answers: list[tuple[float, int]]  # the version of each answer


class _Probe(NamedTuple):
    """When a probe reached each stage, in seconds since the epoch."""

    acknowledged: float
    joined: float
    due: float  # its version's time of publication
    read: float  # its version in the log
    answered: float


HOPS: Mapping[str, Callable[[_Probe], float]] = {
    "joined": lambda probe: probe.joined - probe.acknowledged,
    "learned, until its version is due": lambda probe: probe.due - probe.joined,
    "in the log": lambda probe: probe.read - probe.due,
    "in service": lambda probe: probe.answered - probe.read,
    "in all": lambda probe: probe.answered - probe.acknowledged,
}


def publications(rate: float, seconds: float, url: str | None, *, join: bool) -> list[Freshness]:
    """Measure at ``rate`` examples a second, written as examples or, with ``join``, as impressions and clicks."""
    with running(url, POLICY if join else None) as site, open_log(site.settings.log) as log:
        seen, stop = _Seen([], {}, [], []), threading.Event()
        watches = (_watch_versions, _watch_answers, *([_watch_examples] if join else []))
        watchers = [threading.Thread(target=watch, args=(site, log, seen, stop.is_set)) for watch in watches]
        for watcher in watchers:
            watcher.start()
        try:
            _write(site, log, (visits if join else appends)(site.topics, rate), _SETTLE_TIME + seconds, seen)
            time.sleep(_ANSWER_TIME)
        finally:
            stop.set()
            for watcher in watchers:
                watcher.join()
    hops = _hops(seen, _first_learned(seen) + _SETTLE_TIME)
    return hops if join else hops[1:]


def _write(site: Site, log: Log, stream: Iterable[tuple[float, list[Message]]], seconds: float, seen: _Seen) -> None:
    """Write ``stream`` until the learner, which may compile its kernels first, has been learning for so many seconds."""
    end = _START_TIMEOUT
    for due, messages in paced(stream):
        if end == _START_TIMEOUT and seen.versions and seen.versions[-1][1].examples:
            end = due + seconds
        if due > end:
            return
        offsets = log.append(messages)
        if not messages or messages[-1].topic == site.topics.impressions:
            continue
        now, key = time.time(), messages[-1].key or b""
        seen.acknowledged.append((now, key))
        if messages[-1].topic == site.topics.examples:
            seen.examples[key] = now, offsets[-1]


def _watch_examples(site: Site, log: Log, seen: _Seen, should_stop: Callable[[], bool]) -> None:
    """Observe the examples of clicks."""
    with closing(log.reader(site.topics.examples, {0: 0})) as reader:
        while not should_stop():
            for record in reader.poll(1_000, 0.05):
                if not is_heartbeat(record) and decode_example(record.value).clicked_at is not None:
                    seen.examples[record.key or b""] = time.time(), record.offset


def _watch_versions(site: Site, log: Log, seen: _Seen, should_stop: Callable[[], bool]) -> None:
    with closing(log.reader(site.topics.versions, {0: 0})) as reader:
        while not should_stop():
            for record in reader.poll(100, 0.05):
                seen.versions.append((time.time(), decode_version(record.value)))


def _watch_answers(site: Site, _: Log, seen: _Seen, should_stop: Callable[[], bool]) -> None:
    body = request(np.random.default_rng(0), 1)
    with closing(http.client.HTTPConnection("127.0.0.1", site.port)) as server:
        while not should_stop():
            server.request("POST", "/v1/predict", body)
            answer = msgspec.json.decode(server.getresponse().read())
            seen.answers.append((time.time(), answer["version"]))
            time.sleep(ASK_EVERY)


def _first_learned(seen: _Seen) -> float:
    for at, version in seen.versions:
        if version.examples:
            return at
    raise TimeoutError(f"nothing was learned within {_START_TIMEOUT:g} seconds")


def _hops(seen: _Seen, first: float) -> list[Freshness]:
    """Return the hops of the probes that were acknowledged at ``first`` or later."""
    probes = list(_followed(seen, first))
    return [Freshness(name, *_quantiles([hop(probe) for probe in probes])) for name, hop in HOPS.items()]


def _followed(seen: _Seen, first: float) -> Iterator[_Probe]:
    """Follow each probe to its answer; one without an answer is left out."""
    learned_up_to = [version.offsets.get(0, 0) for _, version in seen.versions]
    answered_by = [version for _, version in seen.answers]
    for acknowledged, key in seen.acknowledged:
        joined, offset = seen.examples.get(key, (0.0, sys.maxsize))
        learned = bisect.bisect_right(learned_up_to, offset)  # index of the first version that learned it
        if acknowledged < first or learned == len(seen.versions):
            continue
        read, version = seen.versions[learned]
        answer = bisect.bisect_left(answered_by, version.version)  # index of the first answer by it, or by a later one
        if answer < len(answered_by):
            yield _Probe(acknowledged, joined, version.published_at / 1000, read, seen.answers[answer][0])


def _quantiles(seconds: Sequence[float]) -> tuple[float, float, float]:
    """Return the 50th, 95th and 99th percentile, in ms."""
    cuts = statistics.quantiles([1000 * each for each in seconds], n=100)
    return round(cuts[49], 1), round(cuts[94], 1), round(cuts[98], 1)
