"""``sml doctor``: report what the settings cost and whether anything would fail, before it is started.

Nothing is created or changed. Memory is counted, not estimated: that of a model with a few rows, plus what each further row adds.
"""

import math
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from llvmlite.binding import get_host_cpu_features

from model.features import Encoder
from model.fingerprint import fingerprint
from model.kernels import target
from model.online import OnlineModel
from model.settings import Spec, TableSettings
from service.commands.topics import described
from service.settings import Settings
from stream.clocks import clock_ahead
from stream.heartbeat import JOINED, PUBLISHED
from stream.log.connect import open_log
from stream.log.contract import Log, LogError, UnknownTopicError
from stream.log.load import measured
from stream.log.topics import CONTROL, Topics, check_learners, wanted

FEATURES = {"x86-64-v3": ("avx2", "bmi2", "fma")}  # that a processor must have for a kernel target
_EXAMPLES = 256  # by which the time of a step is measured
_CLOCKS_DIFFER = 0.25  # seconds: more would spoil an objective of one second
_MEMORY = Path("/proc/meminfo")


class Finding(NamedTuple):
    """What was examined, whether it is fine, and what was found."""

    what: str
    fine: bool
    found: str


class Memory(NamedTuple):
    """Bytes that the settings determine."""

    table: int
    dense: int  # parameters, their accumulators, and a copy of both to undo steps
    server: int  # two copies of the weights

    @property
    def learner(self) -> int:
        """Bytes of the learner, beside the program itself."""
        return self.table + self.dense


def examine(settings: Settings) -> Iterator[Finding]:
    """Examine everything that `sml up` and its parts need."""
    arms = settings.of_every_arm()
    memories = {each.topics.arm: memory_of(each.spec) for each in arms}
    yield from _memory(memories)
    yield from (_learning_time(each) for each in arms if settings.arms)
    yield _waiting(settings.join.most_waiting)
    yield _processor()
    yield from _log(settings)
    yield from _ports(settings)
    for each in arms:
        name = _of_arm("checkpoints", each.topics.arm)
        yield _folder(name, Path(each.learn.directory), memories[each.topics.arm].learner * (settings.learn.keep + 1))


def memory_of(spec: Spec) -> Memory:
    """Count the bytes of a learner's and a server's arrays."""

    def model(capacity: int) -> OnlineModel:
        return OnlineModel(spec.model_copy(update={"table": TableSettings(capacity=capacity)}))

    few, more, rows = model(8), model(16), spec.table.capacity
    of_row, of_weights_row = (_bytes(more) - _bytes(few)) // 8, (_bytes(more.weights) - _bytes(few.weights)) // 8
    dense, dense_weights = _bytes(few) - 8 * of_row, _bytes(few.weights) - 8 * of_weights_row
    return Memory(table=rows * of_row, dense=dense, server=2 * (rows * of_weights_row + dense_weights))


def _bytes(whole: Any) -> int:
    """Add up the bytes of the arrays that an object holds, each once."""
    arrays: dict[int, int] = {}

    def visit(part: Any) -> None:
        if isinstance(part, np.ndarray):
            arrays[part.ctypes.data] = max(arrays.get(part.ctypes.data, 0), part.nbytes)
        elif isinstance(part, tuple | list):
            for each in part:
                visit(each)
        elif type(part).__module__.startswith("model.") and hasattr(part, "__dict__"):
            visit(tuple(vars(part).values()))

    visit(whole)
    return sum(arrays.values())


def _memory(memories: Mapping[str, Memory]) -> Iterator[Finding]:
    for arm, memory in memories.items():
        learner = f"{_size(memory.learner)}: the table {_size(memory.table)}, the network {_size(memory.dense)}"
        yield Finding(_of_arm("learner's memory", arm), True, f"{learner}; as much again for a moment while it saves")
    server, learners = (sum(getattr(memory, what) for memory in memories.values()) for what in ("server", "learner"))
    of_each = f" of each of {len(memories)} arms" if len(memories) > 1 else ""
    yield Finding("server's memory", True, f"{_size(server)}: two copies of the weights{of_each}")
    if _MEMORY.exists():
        available = _machine("MemAvailable")
        wanted = 2 * learners + server
        yield Finding("memory available", wanted < available, f"{_size(available)}, for {_size(wanted)} of learner and server together")


def _learning_time(settings: Settings) -> Finding:
    """Measure the step of an arm, on made-up examples and a small table."""
    spec = settings.spec.model_copy(update={"table": TableSettings(capacity=8 * _EXAMPLES)})
    values = {"categorical": str, "multi": str, "numeric": float, "hour": str, "weekday": str}
    rows = [{field.name: values[field.kind](n % 97) for field in spec.fields} for n in range(_EXAMPLES)]
    features, _ = Encoder(spec.fields).encode(rows, [0] * _EXAMPLES)
    labels = np.arange(_EXAMPLES, dtype=np.float32) % 2
    seconds = []
    for _ in range(4):  # the first loads the kernels, or compiles them
        model, start = OnlineModel(spec), time.perf_counter()
        model.learn(features, labels)
        seconds.append(time.perf_counter() - start)
    each = float(np.median(seconds[1:])) / _EXAMPLES
    return Finding(_of_arm("learning time", settings.topics.arm), True, f"{each * 1e6:,.1f} µs an example, {1 / each:,.0f} a second")


def _of_arm(what: str, arm: str) -> str:
    return what if arm == CONTROL else f"{what} of {arm}"


def _waiting(most: int) -> Finding:
    """Check that the joiner reaches its limit before the machine's memory ends."""
    total = _machine("MemTotal") if _MEMORY.exists() else most
    return Finding("joiner's memory", most <= total, f"up to {_size(most)}, as join.most_waiting says, of {_size(total)}")


def _machine(name: str) -> int:
    return next(int(line.split()[1]) * 1024 for line in _MEMORY.read_text().splitlines() if line.startswith(name))


def _processor() -> Finding:
    name = str(target.config.CPU_NAME or "native")
    features = get_host_cpu_features()
    missing = [feature for feature in FEATURES.get(name, ()) if not features.get(feature)]
    lacks = f", but this processor lacks {', '.join(missing)}" if missing else ""
    return Finding("kernels", not missing, f"compiled for {name}{lacks}; fingerprint {fingerprint()}")


def _log(settings: Settings) -> Iterator[Finding]:
    url = settings.log.url
    file = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite:") and not file.exists():
        yield Finding("log", _writable(file.parent), f"{url} will be created by `sml up` or `sml topics create`")
        return
    try:
        with open_log(settings.log) as log:
            yield Finding("log", True, f"{url} answers{_secured(settings)}")
            topics = settings.topics._replace(by_id=settings.join.rekey)
            yield _topics(log, topics, tuple(settings.arms))
            yield from _retentions(log, settings)
            inputs = topics._replace(by_id=False)
            for topic in (inputs.impressions, inputs.clicks, inputs.examples):
                with suppress(UnknownTopicError):  # reported above
                    yield _append_times(log, url, topic)
            yield from _clocks(log, inputs, tuple(settings.arms))
    except LogError as error:
        yield Finding("log", False, f"{url}: {error}")


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
        return Finding("topics", False, f"{error}; `sml topics create` creates what is missing")
    fine = len(set(of_streams)) == 1
    return Finding("topics", fine, f"partitions of impressions, clicks and examples: {of_streams}{'' if fine else ', expected the same'}")


def _retentions(log: Log, settings: Settings) -> Iterator[Finding]:
    """Check that no topic keeps its records longer, or shorter, than the settings say, and foretell the bytes that all will take."""
    total = 0.0
    names, rekey = settings.topics, settings.join.rekey
    for name, _, expected in wanted(names, settings.log.partitions, settings.kept, rekey=rekey, arms=tuple(settings.arms)):
        try:
            kept, load = log.retention(name), measured(log, name)
        except UnknownTopicError:  # reported above
            continue
        except LogError as error:
            yield Finding(f"{name} kept", False, str(error))
            continue
        size = load.held_for(kept)
        total += size
        rate = f"{load.records:,.1f} records a second of {load.bytes:,.0f} bytes"
        found = f"{described(kept)}: {_size(size)}, at {rate}" if load.records else described(kept)
        wrong = "" if kept == expected else f"; the settings say {described(expected)}: `sml topics update` changes that"
        yield Finding(f"{name} kept", not wrong, found + wrong)
    yield _disk(settings.log.url, total)


def _disk(url: str, total: float) -> Finding:
    if not url.startswith("sqlite:"):
        return Finding("log's size", math.isfinite(total), f"{_size(total)} before compression, times the replicas")
    file = Path(url.removeprefix("sqlite:///"))
    room = shutil.disk_usage(file.parent).free + file.stat().st_size
    return Finding("log's size", total < room, f"{_size(total)}, with room for {_size(room)}")


def _append_times(log: Log, url: str, topic: str) -> Finding:
    """Check that a writer's wrong clock can be detected: the joiner and the learner compare times with those that the log assigns."""
    if log.append_times(topic):
        return Finding(topic, True, "timestamps are the log's own")
    change = f"--alter --entity-type topics --entity-name {topic} --add-config message.timestamp.type=LogAppendTime"
    fix = f"`kafka-configs --bootstrap-server {url.removeprefix('kafka://')} {change}`"
    wrong = f"timestamps are the writers' own, expected the log's: {fix} changes that, or let `sml topics create` create the topic"
    return Finding(topic, False, wrong)


def _clocks(log: Log, topics: Topics, arms: Sequence[str]) -> Iterator[Finding]:
    """Check the clocks of joiner and learners, where they have passed heartbeats on."""
    with suppress(LogError):  # reported above
        joiner = clock_ahead(log, topics.examples, len(log.bounds(topics.examples)), JOINED)
        learners = {arm: clock_ahead(log, topics._replace(arm=arm).weights, 1, PUBLISHED) for arm in arms or (CONTROL,)}
        for name, ahead in [("joiner's clock", joiner), *((_of_arm("learner's clock", arm), ahead) for arm, ahead in learners.items())]:
            if ahead is not None:
                wrong = "" if (fine := abs(ahead) <= _CLOCKS_DIFFER) else ": its hops in /v1/freshness are wrong by that; let NTP set it"
                way = "ahead of" if ahead > 0 else "behind"
                yield Finding(name, fine, f"{abs(ahead):,.3f} s {way} the log's, by its last heartbeats{wrong}")


def _ports(settings: Settings) -> Iterator[Finding]:
    wanted = {
        "serve.port": (settings.serve.host, settings.serve.port),
        **{
            _of_arm("learn.metrics_port", each.topics.arm): (settings.learn.metrics_host, each.learn.metrics_port)
            for each in settings.of_every_arm()
        },
        "join.metrics_port": (settings.join.metrics_host, settings.join.metrics_port),
    }
    taken: dict[int, str] = {}
    for name, (host, port) in wanted.items():
        if port and port in taken:
            yield Finding(name, False, f"{port} is also {taken[port]}")
            continue
        taken[port] = name
        try:
            socket.create_server((host, port)).close()
        except OSError as error:
            yield Finding(name, False, f"{port} can't be used: {error.strerror}; is it running already?")
        else:
            yield Finding(name, True, f"{port} is free" if port else "any free port")


def _folder(name: str, folder: Path, wanted: int) -> Finding:
    existing = _existing(folder)
    free = shutil.disk_usage(existing).free
    if not _writable(folder):
        return Finding(name, False, f"{existing} can't be written to")
    return Finding(name, wanted < free, f"{folder}: {_size(free)} free, for at most {_size(wanted)}")


def _writable(folder: Path) -> bool:
    existing = _existing(folder)
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest above it that exists."""
    return next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())


def _size(count: float) -> str:
    if math.isinf(count):
        return "without end"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"  # noqa: PLR2004 - units
