"""Several models learn from one log: each as if it were alone, and none stands in another's way."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from model.evaluation.scores import RunningScores
from model.online import OnlineModel
from model.settings import ModelSettings
from stream.dead_letters import retry
from stream.learn.trainer import Trainer
from stream.log.contract import Log, Message
from stream.records.events import Served
from stream.weights.versions import newest_version
from tests.stream.learning import SPEC, TOPICS, example, examples, learn_all, opened, records

ARM = TOPICS._replace(arm="treatment")
OTHER = SPEC.model_copy(update={"model": ModelSettings(hidden=(8, 4), embedding=4, skip="none")})


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """Yield an empty log of two arms."""
    with opened(tmp_path, arms=("control", "treatment")) as log:
        yield log


def test_each_arm_learns_all_examples_as_if_it_were_alone(log: Log, tmp_path: Path) -> None:
    with opened(tmp_path / "alone") as alone:
        alone.append(examples(100))
        expected = learn_all(alone, tmp_path / "alone", OTHER).digest
    log.append(examples(60))
    learn_all(log, tmp_path)
    learn_all(log, tmp_path / "arm", OTHER, topics=ARM)
    log.append(examples(40, first=60))

    treatment = learn_all(log, tmp_path / "arm", OTHER, topics=ARM)
    control = learn_all(log, tmp_path)

    assert (treatment.digest, treatment.examples) == (expected, 100)
    assert control.digest != treatment.digest
    assert newest_version(log, TOPICS).version == control  # type: ignore[union-attr]
    assert newest_version(log, ARM).version == treatment  # type: ignore[union-attr]


def test_a_learner_of_an_arm_fences_no_learner_of_another(log: Log, tmp_path: Path) -> None:
    log.append(examples(10))
    writer = log.writer(TOPICS.learner)

    learn_all(log, tmp_path / "arm", OTHER, topics=ARM)

    assert writer.commit([Message(TOPICS.dead_letters, None, b"mine", partition=0)], {})


def test_an_examples_arm_changes_nothing_that_is_learned(log: Log, tmp_path: Path) -> None:
    served = msgspec.to_builtins(Served(1, 0.5, "treatment", "first", 0.5, "00", forced=True))
    log.append([example(1), example(2, served=served)])

    with_arm = learn_all(log, tmp_path)

    alone = Trainer(OnlineModel(SPEC), RunningScores())
    alone.learn([record._replace(value=example(n + 1).value) for n, record in enumerate(records(log, TOPICS.examples))])
    assert with_arm.digest == alone.model.digest()


def test_what_two_arms_set_aside_is_written_back_once(log: Log, tmp_path: Path) -> None:
    log.append([example(1), Message(TOPICS.examples, b"a", b"junk")])
    learn_all(log, tmp_path)
    learn_all(log, tmp_path / "arm", OTHER, topics=ARM)

    stages = [dict(record.headers)["__connect.errors.stage"] for record in records(log, TOPICS.dead_letters)]

    assert stages == [b"learn", b"learn.treatment"]
    assert retry(log, TOPICS).written == 1


def test_an_arm_under_fnc_learns_what_was_joined_under_fnw_as_it_stands(log: Log, tmp_path: Path) -> None:
    log.append([example(n, policy="fnw") for n in range(20)])
    plain = SPEC.model_copy(update={"label_policy": "fnc"})

    learned = learn_all(log, tmp_path, plain).digest

    model = Trainer(OnlineModel(plain), RunningScores())
    model.learn([record._replace(value=example(n).value) for n, record in enumerate(records(log, TOPICS.examples))])
    assert learned == model.model.digest()
    assert learned != learn_all(log, tmp_path / "arm", SPEC.model_copy(update={"label_policy": "fnw"}), topics=ARM).digest
