"""Whether the log and its topics are as the processes need them, and what the topics will come to take."""

import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from service.doctor.clocks import of_log, of_processes
from service.doctor.finding import Finding, size
from service.doctor.joining import joiners_found, waiting_found
from service.doctor.machine import writable
from service.settings import Settings
from stream.log.connect import open_log
from stream.log.contract import Log, LogError, Retention, UnknownTopicError
from stream.log.load import measured
from stream.log.settings import format_duration
from stream.log.topics import CONTROL, Topics, check_learners, wanted
from stream.settings import least_retention

_SHORTER = "a shorter [log] retention, then `sml topics update`; or more room"


def log_found(settings: Settings) -> Iterator[Finding]:
    """Check that the log answers, and that its topics are as the settings say."""
    url, file = settings.log.url, settings.log.file
    if file and not file.exists():
        yield Finding(
            "log",
            writable(file.parent),
            f"{url} will be created by `sml up` or `sml topics create`",
            f"let the user of the processes write to {file.parent}",
        )
        return
    try:
        with open_log(settings.log) as log:
            yield Finding("log", True, f"{url} answers{_secured(settings)}")
            yield from _on_log(log, settings)
    except LogError as error:
        yield Finding("log", False, f"{url}: {error}", "start the log, or set [log] url and [log.security] to where it is")


def _on_log(log: Log, settings: Settings) -> Iterator[Finding]:
    """Check what a log that answers holds."""
    topics = settings.topics._replace(by_id=settings.join.rekey)
    yield of_log(log, settings)
    yield _topics(log, topics, tuple(settings.arms))
    yield from _retentions(log, settings)
    yield waiting_found(log, settings)
    yield joiners_found(log, settings)
    inputs = topics._replace(by_id=False)
    for topic in (inputs.impressions, inputs.clicks, inputs.examples):
        with suppress(UnknownTopicError):  # reported above
            yield _append_times(log, settings.log.url, topic)
    for topic in settings.input.topics:
        yield _of_the_site(log, topic)
    yield from of_processes(log, inputs, tuple(settings.arms))


def _secured(settings: Settings) -> str:
    """Return how Kafka is reached; who listens on the way learns what SASL_PLAINTEXT and PLAINTEXT carry."""
    return f" by {settings.log.security.protocol}" if settings.log.url.startswith("kafka:") else ""


def _topics(log: Log, topics: Topics, arms: Sequence[str] = ()) -> Finding:
    """Check that each topic exists, and that an impression, its clicks and its example have the same partition."""
    streams = (topics.impressions, topics.clicks, topics.examples)
    try:
        of_streams = [len(log.bounds(topic)) for topic in streams]
        for arm in arms or (CONTROL,):
            check_learners(log, topics._replace(arm=arm))
        if arms:
            log.bounds(topics.arms)
    except LogError as error:
        return Finding("topics", False, str(error), "`sml topics create` creates what is missing")
    fine = len(set(of_streams)) == 1
    found = f"partitions of impressions, clicks and examples: {of_streams}{'' if fine else ', expected the same'}"
    return Finding("topics", fine, found, "" if fine else "let all three have as many partitions, or set [join] rekey")


def _retentions(log: Log, settings: Settings) -> Iterator[Finding]:
    """Check that no topic keeps its records longer, or shorter, than the settings say, and foretell the bytes that all will take."""
    total, least = 0.0, least_retention(settings.log, settings.join, settings.learn)
    names, rekey = settings.topics, settings.join.rekey
    for name, _, expected in wanted(names, settings.log.partitions, settings.kept, rekey=rekey, arms=tuple(settings.arms)):
        try:
            kept, load = log.retention(name), measured(log, name)
        except UnknownTopicError:  # reported above
            continue
        except LogError as error:
            yield Finding(f"{name} kept", False, str(error))
            continue
        held = load.held_for(kept)
        total += held
        rate = f"{load.records:,.1f} records a second of {load.bytes:,.0f} bytes"
        found = f"{described(kept)}: {size(held)}, at {rate}" if load.records else described(kept)
        wrong = "" if kept == expected else f"; the settings say {described(expected)}{_too_short(kept, expected, least)}"
        yield Finding(f"{name} kept", not wrong, found + wrong, wrong and "`sml topics update` changes that")
    yield _disk(settings.log.file, total)


def _too_short(kept: Retention, expected: Retention, least: float) -> str:
    """Return that records go before a restart has read them, where they do; the weights, which are repeated, may be kept shorter."""
    short = kept.seconds is not None and kept.seconds < least <= (expected.seconds or math.inf)
    return f"; a restart needs {format_duration(60 * math.ceil(least / 60))}" if short else ""


def _disk(file: Path | None, total: float) -> Finding:
    if file is None:
        return Finding.check("log's size", math.isfinite(total), f"{size(total)} before compression, times the replicas", _SHORTER)
    room = shutil.disk_usage(file.parent).free + file.stat().st_size
    return Finding.check("log's size", total < room, f"{size(total)} before compression, with room for {size(room)}", _SHORTER)


def _append_times(log: Log, url: str, topic: str) -> Finding:
    """Check that a writer's wrong clock can be detected: the joiner and the learner compare times with those that the log assigns."""
    if log.append_times(topic):
        return Finding(topic, True, "timestamps are the log's own")
    change = f"--alter --entity-type topics --entity-name {topic} --add-config message.timestamp.type=LogAppendTime"
    fix = f"`kafka-configs --bootstrap-server {url.removeprefix('kafka://')} {change}`"
    return Finding(
        topic, False, "timestamps are the writers' own, expected the log's", f"{fix}, or let `sml topics create` create the topic"
    )


def _of_the_site(log: Log, topic: str) -> Finding:
    """Check that a topic that ``[input]`` names exists; whose its timestamps are is the site's affair."""
    try:
        own = log.append_times(topic)
    except LogError as error:
        return Finding(topic, False, str(error), "let [input] name a topic that your site writes")
    found = "timestamps are the log's own" if own else "timestamps are the writers' own, and believed up to the present"
    return Finding(topic, True, f"mapped as [input] says; {found}")


def described(retention: Retention) -> str:
    """Return how long a topic is kept, in words.

    >>> described(Retention(604800.0, 1_000_000_000))
    '7d, up to 1,000,000,000 bytes'
    """
    time = "for ever" if retention.seconds is None else format_duration(retention.seconds)
    return time if retention.bytes is None else f"{time}, up to {retention.bytes:,} bytes"
