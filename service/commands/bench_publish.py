"""``sml bench publish``: from an example that the log has acknowledged to the first answer by weights that learned it, hop by hop.

Every append of the stream is a probe. Its example is learned by the first version whose offsets pass it; the server is asked
every few milliseconds which version it answers by. All clocks are this machine's.
"""

import bisect
import http.client
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import NamedTuple

import msgspec
import numpy as np

from service.commands.bench_site import Site, appends, request, running
from stream.connect import connect
from stream.events import Version, decode_version
from stream.log import Log

ASK_EVERY = 0.003  # seconds
_SETTLE = 5.0  # seconds before the first probe counts
_LINGER = 1.0  # seconds that the last probe gets to be answered


class Freshness(NamedTuple):
    """One hop's line of ``sml bench publish``, in ms."""

    hop: str
    p50: float
    p95: float
    p99: float


class _Seen(NamedTuple):
    """What was seen, each with when: in seconds since the epoch, ascending."""

    acknowledged: list[tuple[float, int]]  # an example's offset
    versions: list[tuple[float, Version]]
    answers: list[tuple[float, int]]  # an answer's version


def publications(rate: float, seconds: float, url: str | None) -> list[Freshness]:
    """Measure at ``rate`` examples a second."""
    with running(url) as site, connect(site.settings.log.url) as log:
        seen, stop = _Seen([], [], []), threading.Event()
        watchers = [threading.Thread(target=watch, args=(site, log, seen, stop.is_set)) for watch in (_watch_versions, _watch_answers)]
        for watcher in watchers:
            watcher.start()
        try:
            _write(site, log, rate, _SETTLE + seconds, seen)
            time.sleep(_LINGER)
        finally:
            stop.set()
            for watcher in watchers:
                watcher.join()
    return _hops(seen, seen.acknowledged[0][0] + _SETTLE)


def _write(site: Site, log: Log, rate: float, seconds: float, seen: _Seen) -> None:
    begin = time.monotonic()
    for due, messages in appends(site.topics, rate):
        if due > seconds:
            return
        time.sleep(max(0.0, begin + due - time.monotonic()))
        offsets = log.append(messages)
        seen.acknowledged.append((time.time(), offsets[-1]))


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


def _hops(seen: _Seen, first: float) -> list[Freshness]:
    """Follow each probe from hop to hop."""
    learned_up_to = [version.offsets.get(0, 0) for _, version in seen.versions]
    answered_by = [version for _, version in seen.answers]
    hops: dict[str, list[float]] = {name: [] for name in ("learned, until its version is due", "in the log", "in service", "in all")}
    for acknowledged, offset in seen.acknowledged:
        place = bisect.bisect_right(learned_up_to, offset)
        if acknowledged < first or place == len(seen.versions):
            continue
        read, version = seen.versions[place]
        answer = bisect.bisect_left(answered_by, version.version)
        if answer == len(answered_by):
            continue
        made, answered = version.published_at / 1000, seen.answers[answer][0]
        for name, taken in zip(hops, (made - acknowledged, read - made, answered - read, answered - acknowledged), strict=True):
            hops[name].append(taken * 1000)
    return [Freshness(name, *_quantiles(taken)) for name, taken in hops.items()]


def _quantiles(taken: Sequence[float]) -> tuple[float, float, float]:
    cuts = statistics.quantiles(taken, n=100)
    return round(cuts[49], 1), round(cuts[94], 1), round(cuts[98], 1)
