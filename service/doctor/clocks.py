"""Whether the clocks agree: this machine's, the log's, and those of joiner and learners."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from service.doctor.finding import Finding, of_arm
from service.settings import Settings
from stream.clocks import clock_ahead
from stream.log.contract import Log, LogError
from stream.log.reading import read_all
from stream.log.topics import CONTROL, Topics
from stream.records.heartbeat import JOINED, PUBLISHED

_SYNCHRONISED = Path("/run/systemd/timesync/synchronized")
_EARLIEST = 1_760_000_000  # epoch seconds: no clock that is right is before this program
_LAST = 3  # offsets at the end of a partition; not every one has a record
_DIFFER = 0.25  # seconds: more would spoil an objective of one second


def of_machine() -> Finding:
    """Check the clock, as far as a machine alone can."""
    now = time.time()
    synchronised = _SYNCHRONISED.exists()
    found = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(now))} UTC, {'' if synchronised else 'not known to be '}synchronised"
    todo = "" if synchronised else "run an NTP client: times of events are compared with the clocks of log and server"
    return Finding("clock", now > _EARLIEST, found, todo)


def of_log(log: Log, settings: Settings) -> Finding:
    """Compare this machine's clock with the times that the log gave its newest records: none is in the future."""
    skew, newest = settings.join.clock_skew, 0
    for topic in (settings.topics.impressions, settings.topics.examples):
        with suppress(LogError):
            ends = log.bounds(topic)
            start = {partition: found.newest(_LAST) for partition, found in ends.items()}
            records = read_all(log, topic, start, {partition: found.end for partition, found in ends.items()}, batch=_LAST)
            newest = max([newest, *(record.timestamp for record in records)])
    ahead = newest / 1000 - time.time()
    if not newest:
        return Finding("log's clock", True, "there is no record yet to compare this machine's clock with")
    found = f"its newest record is {math.ceil(ahead)} s in this machine's future" if ahead > 0 else "this machine's clock is not behind it"
    return Finding.check("log's clock", ahead <= skew, found, "set both clocks by NTP: events are set aside for their times")


def of_processes(log: Log, topics: Topics, arms: Sequence[str]) -> Iterator[Finding]:
    """Check the clocks of joiner and learners, where they have passed heartbeats on."""
    with suppress(LogError):  # reported elsewhere
        joiner = clock_ahead(log, topics.examples, len(log.bounds(topics.examples)), JOINED)
        learners = {arm: clock_ahead(log, topics._replace(arm=arm).weights, 1, PUBLISHED) for arm in arms or (CONTROL,)}
        for name, ahead in [("joiner's clock", joiner), *((of_arm("learner's clock", arm), ahead) for arm, ahead in learners.items())]:
            if ahead is not None:
                found = f"{abs(ahead):,.3f} s {'ahead of' if ahead > 0 else 'behind'} the log's, by its last heartbeats"
                wrong = "its hops in /v1/freshness are wrong by that: let NTP set it"
                yield Finding.check(name, abs(ahead) <= _DIFFER, found, wrong)
