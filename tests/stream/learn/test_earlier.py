"""What an earlier version has stored still loads: a learner goes on from the checkpoint that 0.1.0 wrote (commit 9714d9f), and its log."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from model.evaluation import Progressive
from model.online import OnlineModel
from model.settings import Field, ModelSettings, Spec, TableSettings
from stream.event_time import TimeRule
from stream.events import Example, encode
from stream.learn.checkpoint import Checkpoints
from stream.learn.learner import Learner
from stream.learn.metrics import LearnerMetrics
from stream.learn.recovery import Recovery
from stream.learn.trainer import Trainer
from stream.log.contract import Message
from stream.log.reading import read_all
from stream.log.sqlite_log import SqliteLog
from stream.log.topics import Topics
from stream.settings import LearnSettings

EARLIER = Path(__file__).parent / "earlier"
TOPICS = Topics("sml")
SPEC = Spec(model=ModelSettings(hidden=(4,), embedding=2), table=TableSettings(capacity=64), fields=(Field(name="user"),))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    """Open a copy of the log; beside it lies the checkpoint of its version 1, of 120 examples."""
    (tmp_path / "log.db").write_bytes(gzip.decompress((EARLIER / "log-0.1.0.db.gz").read_bytes()))
    (tmp_path / "version-000000000001.checkpoint").write_bytes(gzip.decompress((EARLIER / "checkpoint-0.1.0.gz").read_bytes()))
    with SqliteLog(f"sqlite:///{tmp_path / 'log.db'}") as log:
        yield log


def test_recovery_begins_with_a_checkpoint_of_an_earlier_version(log: SqliteLog, tmp_path: Path) -> None:
    recovered = Recovery(log, TOPICS, SPEC, Checkpoints(tmp_path, keep=3)).recover()

    assert (recovered.saved, recovered.diverged, recovered.trainer.model.examples) == (1, False, 120)
    assert recovered.last
    assert recovered.trainer.model.digest() == recovered.last.version.digest


def test_learning_goes_on_from_it_as_if_it_had_never_ended(log: SqliteLog, tmp_path: Path) -> None:
    log.append([Message(TOPICS.examples, b"new", encode(Example("new", 1_700_000_000_500, {"user": "u1"}, 1)))])
    learner = Learner(
        log, TOPICS, SPEC, LearnSettings(directory=str(tmp_path)), LearnerMetrics(CollectorRegistry()), times=TimeRule(60_000)
    )

    learner.run(lambda: False, until_caught_up=True)

    uninterrupted = Trainer(OnlineModel(SPEC), Progressive())
    uninterrupted.learn(list(read_all(log, TOPICS.examples)))
    assert learner.last
    assert learner.last.version.examples == 121
    assert learner.last.version.digest == uninterrupted.model.digest()
