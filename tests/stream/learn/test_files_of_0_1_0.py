"""The files of version 0.1.0 still load, and learning goes on from them (``tests/data/README.md`` has the script that made them)."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from model.settings import Field, ModelSettings, Spec, TableSettings
from stream.inputs.event_time import TimeRule
from stream.learn.learner import Learner
from stream.learn.metrics import LearnerMetrics
from stream.learn.saving.checkpoint import Checkpoint, Checkpoints
from stream.log.contract import Message
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import Topics
from stream.records.version import decode_version
from stream.settings import LearnSettings
from stream.weights.versions import newest_version
from tests.stream.learning import examples, forget, records

DATA = Path(__file__).parents[2] / "data"
TOPICS = Topics("sml")
SPEC = Spec(model=ModelSettings(hidden=(4,), embedding=2), table=TableSettings(capacity=64), fields=(Field(name="user"),))
LEARNED = 150  # examples


def unpacked(name: str) -> bytes:
    """Return the content of a file of version 0.1.0."""
    return gzip.decompress((DATA / name).read_bytes())


def more(count: int) -> list[Message]:
    """Make up examples that come after those learned."""
    return [message._replace(topic=TOPICS.examples) for message in examples(count, LEARNED)]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    """Open a copy of the log, and put the checkpoint beside it."""
    (tmp_path / "log.db").write_bytes(unpacked("log-0.1.0.db.gz"))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "version-000000000001.checkpoint").write_bytes(unpacked("checkpoint-0.1.0.gz"))
    with SqliteLog(f"sqlite:///{tmp_path / 'log.db'}") as log:
        yield log


def test_a_checkpoint_of_0_1_0_loads_with_the_weights_that_it_was_published_with(log: SqliteLog) -> None:
    checkpoint = Checkpoint.from_bytes(unpacked("checkpoint-0.1.0.gz"))
    model, scores = (trainer := checkpoint.restore()).model, trainer.scores

    assert checkpoint.spec == SPEC
    assert (checkpoint.version, checkpoint.offset) == newest_version(log, TOPICS)
    assert (model.digest(), model.examples, scores.total().examples) == (checkpoint.version.digest, LEARNED, LEARNED)


def test_a_version_with_the_status_that_earlier_programs_could_write_is_still_read(log: SqliteLog) -> None:
    for record in records(log, TOPICS.versions):
        value = json.dumps(json.loads(record.value or b"") | {"status": "good"}).encode()

        assert decode_version(value) == decode_version(record.value)


def test_learning_goes_on_from_a_checkpoint_of_0_1_0(log: SqliteLog, tmp_path: Path) -> None:
    forget(tmp_path, TOPICS.examples, 0, LEARNED)  # so that only the checkpoint holds what was learned from them
    log.append(more(50))
    settings = LearnSettings(directory=str(tmp_path / "checkpoints"))
    trainer = next(Checkpoints(tmp_path / "checkpoints", 1).newest_first()).restore()

    learner = Learner(log, TOPICS, SPEC, settings, LearnerMetrics(CollectorRegistry()), times=TimeRule(60_000))
    learner.run(lambda: False, until_caught_up=True)

    trainer.learn(records(log, TOPICS.examples))
    assert learner.last
    assert learner.last.version.examples == LEARNED + 50
    assert learner.last.version.digest == trainer.model.digest()
