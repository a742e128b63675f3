"""``sml bench publish``: from what the log has acknowledged to the first answer by weights that learned it, hop by hop.

Every append of the stream is a probe: its last example or, through the joiner, the example that its last click gives. That is learned
by the first version whose offsets pass it; the server is asked every few milliseconds which version it answers by. All clocks are
this machine's.
"""

import bisect
import http.client
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from itertools import pairwise
from typing import NamedTuple

import msgspec
import numpy as np

from service.bench.site import Site, appends, request, running, visits
from stream.events import Version, decode_example, decode_version
from stream.log.connect import connect
from stream.log.contract import Log, Message

ASK_EVERY = 0.003  # seconds
POLICY = "fnw"  # the joiner's: what is shown and what is clicked are examples at once
_START = 300.0  # seconds that the learner gets to learn the first example
_SETTLE = 5.0  # seconds before the first probe counts
_LINGER = 3.0  # seconds that the last probe gets to be answered


class Freshness(NamedTuple):
    """One hop's line of ``sml bench publish``, in ms."""

    hop: str
    p50: float
    p95: float
    p99: float


class _Seen(NamedTuple):
    """What was seen, each with when: in seconds since the epoch, ascending."""

    acknowledged: list[tuple[float, bytes]]  # the key of an example, or of a click
    examples: dict[bytes, tuple[float, int]]  # an example's offset, by its key
    versions: list[tuple[float, Version]]
    answers: list[tuple[float, int]]  # an answer's version


def publications(rate: float, seconds: float, url: str | None, *, join: bool) -> list[Freshness]:
    """Measure at ``rate`` examples a second, written as such or, with ``join``, as impressions and clicks."""
    with running(url, POLICY if join else None) as site, connect(site.settings.log.url) as log:
        seen, stop = _Seen([], {}, [], []), threading.Event()
        watches = (_watch_versions, _watch_answers, *([_watch_examples] if join else []))
        watchers = [threading.Thread(target=watch, args=(site, log, seen, stop.is_set)) for watch in watches]
        for watcher in watchers:
            watcher.start()
        try:
            _write(site, log, (visits if join else appends)(site.topics, rate), _SETTLE + seconds, seen)
            time.sleep(_LINGER)
        finally:
            stop.set()
            for watcher in watchers:
                watcher.join()
    hops = _hops(seen, _first_learned(seen) + _SETTLE)
    return hops if join else hops[1:]


def _write(site: Site, log: Log, stream: Iterable[tuple[float, list[Message]]], seconds: float, seen: _Seen) -> None:
    """Write ``stream`` until the learner, which may have to compile its kernels, has been learning for so many seconds."""
    begin = time.monotonic()
    end = _START
    for due, messages in stream:
        if end == _START and seen.versions and seen.versions[-1][1].examples:
            end = due + seconds
        if due > end:
            return
        time.sleep(max(0.0, begin + due - time.monotonic()))
        offsets = log.append(messages)
        if not messages or messages[-1].topic == site.topics.impressions:
            continue
        now, key = time.time(), messages[-1].key or b""
        seen.acknowledged.append((now, key))
        if messages[-1].topic == site.topics.examples:
            seen.examples[key] = now, offsets[-1]


def _watch_examples(site: Site, log: Log, seen: _Seen, should_stop: Callable[[], bool]) -> None:
    """Look for the examples that clicks gave."""
    with closing(log.reader(site.topics.examples, {0: 0})) as reader:
        while not should_stop():
            for record in reader.poll(1_000, 0.05):
                if decode_example(record.value).clicked_at is not None:
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
    raise TimeoutError(f"nothing was learned within {_START:g} seconds")


def _hops(seen: _Seen, first: float) -> list[Freshness]:
    """Follow each probe from hop to hop."""
    learned_up_to = [version.offsets.get(0, 0) for _, version in seen.versions]
    answered_by = [version for _, version in seen.answers]
    hops: dict[str, list[float]] = {
        name: [] for name in ("joined", "learned, until its version is due", "in the log", "in service", "in all")
    }
    for acknowledged, key in seen.acknowledged:
        joined, offset = seen.examples.get(key, (0.0, sys.maxsize))
        index = bisect.bisect_right(learned_up_to, offset)
        if acknowledged < first or index == len(seen.versions):
            continue
        read, version = seen.versions[index]
        answer = bisect.bisect_left(answered_by, version.version)
        if answer == len(answered_by):
            continue
        made, answered = version.published_at / 1000, seen.answers[answer][0]
        moments = (acknowledged, joined, made, read, answered)
        for name, taken in zip(hops, (*(later - earlier for earlier, later in pairwise(moments)), answered - acknowledged), strict=True):
            hops[name].append(taken * 1000)
    return [Freshness(name, *_quantiles(taken)) for name, taken in hops.items()]


def _quantiles(taken: Sequence[float]) -> tuple[float, float, float]:
    cuts = statistics.quantiles(taken, n=100)
    return round(cuts[49], 1), round(cuts[94], 1), round(cuts[98], 1)
