"""A small model, its log and its learner, for the tests of the learning loop."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from model.evaluation.scores import RunningScores
from model.online import OnlineModel
from model.settings import Field, ModelSettings, Spec, TableSettings
from stream.inputs.event_time import TimeRule
from stream.learn.learner import Learner
from stream.learn.metrics import LearnerMetrics
from stream.learn.trainer import Trainer
from stream.log import topics as topics_module
from stream.log.contract import Log, Message, Record
from stream.log.reading import read_all
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import Topics
from stream.records.version import Version
from stream.settings import LearnSettings
from stream.weights.versions import read_versions

SPEC = Spec(
    model=ModelSettings(hidden=(8, 4), embedding=4, records=True),
    table=TableSettings(capacity=256),
    fields=(Field(name="user"), Field(name="item"), Field(name="price", kind="numeric")),
    label_delay=5,
)
TOPICS = Topics("learning")
OPTIONS = {
    "times",
    "accept_gap",
    "weights_retention",
    "begin_from",
    "shared",
    "tracing",
    "ranks",
    "archive",
}  # of a learner, beside its settings and topics


@contextmanager
def opened(folder: Path, partitions: int = 1, arms: Sequence[str] = ()) -> Iterator[SqliteLog]:
    """Open the log in ``folder``, with the model's topics."""
    with SqliteLog(f"sqlite:///{folder / 'log.db'}") as log:
        topics_module.create(log, TOPICS, partitions, arms=arms)
        yield log


def example(number: int, **changes: Any) -> Message:
    """Make up one example; ``changes`` replaces parts of its record."""
    random = np.random.default_rng(number)
    features = {"user": int(random.integers(60)), "item": int(random.integers(60)), "price": round(float(random.exponential()), 3)}
    record = {"impression_id": f"i{number}", "time": 1_000_000 + number, "features": features, "label": int(random.random() < 0.3)}
    return Message(TOPICS.examples, f"i{number}".encode(), json.dumps(record | changes).encode())


def examples(count: int, first: int = 0) -> list[Message]:
    """Make up ``count`` examples."""
    return [example(number) for number in range(first, first + count)]


def learner(log: Log, folder: Path, spec: Spec = SPEC, *, registry: CollectorRegistry | None = None, **settings: Any) -> Learner:
    """Return a learner that keeps its checkpoints in ``folder``."""
    options = {"times": TimeRule(60_000)} | {name: settings.pop(name) for name in OPTIONS & settings.keys()}
    defaults = {"directory": str(folder / "checkpoints"), "publish_every": 0.0}
    metrics = LearnerMetrics(registry or CollectorRegistry())
    topics = settings.pop("topics", TOPICS)
    return Learner(log, topics, spec, LearnSettings.model_validate(defaults | settings), metrics, **options)


def learn_all(log: Log, folder: Path, spec: Spec = SPEC, **settings: Any) -> Version:
    """Learn what the log holds, and return the last version."""
    learns = learner(log, folder, spec, **settings)
    learns.run(lambda: False, until_caught_up=True)
    if learns.last is None:
        raise AssertionError("nothing was published")
    return learns.last.version


def learn_for_ever(folder: Path, **settings: Any) -> None:
    """Learn until killed; save checkpoints all the time."""
    with SqliteLog(f"sqlite:///{folder / 'log.db'}") as log:
        learner(log, folder, checkpoint_every=0.02, snapshot_every=0.1, **settings).run(lambda: False)


def polls(count: int) -> Callable[[], bool]:
    """Return a function that says to stop once it was asked so many times."""
    asked = iter(range(count))
    return lambda: next(asked, None) is None


def all_versions(log: Log) -> list[Version]:
    """Return every version there is."""
    return [published.version for published in read_versions(log, TOPICS, 0)]


def records(log: Log, topic: str, partition: int = 0) -> list[Record]:
    """Return the records of a partition."""
    return list(read_all(log, topic, {partition: log.bounds(topic)[partition].first}))


def learned_directly(stream: list[Record]) -> str:
    """Learn ``stream`` without a learner, one record at a time; return the digest of the weights."""
    trainer = Trainer(OnlineModel(SPEC), RunningScores())
    for record in stream:
        trainer.learn([record])
    return trainer.model.digest()


def learned_as_written_down(log: Log) -> list[Record]:
    """Return the examples in the order that the versions say they were learned in."""
    stream = {
        partition: {record.offset: record for record in records(log, TOPICS.examples, partition)}
        for partition in log.bounds(TOPICS.examples)
    }
    runs = [run for version in all_versions(log) for run in version.runs]
    return [stream[run.partition][offset] for run in runs for offset in range(run.first, run.last + 1)]


def assert_each_example_was_read_once(log: Log) -> None:
    """Compare the runs of all versions with what the log holds."""
    assert sorted((record.partition, record.offset) for record in learned_as_written_down(log)) == [
        (partition, offset) for partition, bounds in log.bounds(TOPICS.examples).items() for offset in range(bounds.end)
    ]


def assert_each_example_was_learned_once(log: Log) -> None:
    """Compare the runs of all versions with what the log holds, and the weights with those of learning it directly."""
    assert_each_example_was_read_once(log)
    assert all_versions(log)[-1].digest == learned_directly(learned_as_written_down(log))


def tamper(folder: Path, topic: str, partition: int, offset: int, value: bytes) -> None:
    """Overwrite a record in the log's file."""
    _execute(folder, "UPDATE records SET value = ? WHERE place = (SELECT number << 40 | ? FROM partitions WHERE topic = ? AND partition = ?)",
             value, offset, topic, partition)  # fmt: skip


def forget(folder: Path, topic: str, partition: int, first: int) -> None:
    """Delete the records before ``first``, as retention does."""
    own = "SELECT number << 40 FROM partitions WHERE topic = ? AND partition = ?"
    _execute(folder, f"DELETE FROM records WHERE place >= ({own}) AND place < ({own}) + ?", topic, partition, topic, partition, first)
    _execute(folder, "UPDATE partitions SET first = ? WHERE topic = ? AND partition = ?", first, topic, partition)


def _execute(folder: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(folder / "log.db")) as connection:
        connection.execute(statement, values)
        connection.commit()
