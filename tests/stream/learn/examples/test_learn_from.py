"""An arm that learns only from what it served is the model that it would be if the log held nothing else."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from model.evaluation.scores import RunningScores
from model.online import OnlineModel
from stream.learn.restore.rollback import rebuild, roll_back
from stream.learn.saving.checkpoint import Checkpoints
from stream.learn.trainer import Trainer
from stream.log.contract import Log, Message, Record
from stream.records.events import Served
from stream.settings import LearnSettings
from stream.weights.versions import newest_version, read_versions
from tests.stream.learn.forgetting import request
from tests.stream.learn.fragile import Killed, fragile
from tests.stream.learning import SPEC, TOPICS, example, learn_all, opened, records

ARM = TOPICS._replace(arm="treatment")
OWN = SPEC.model_copy(update={"served_by": "treatment"})
SERVED = {
    "its own": Served(1, 0.5, "treatment", "first", 0.5, "00"),
    "control's": Served(1, 0.5, "control", "first", 0.5, "01"),
    "answered by control in its place": Served(1, 0.5, "control", "first", 1.0, "02", assigned="treatment"),
    "forced": Served(1, 0.5, "treatment", "first", None, "03", forced=True),
    "served by no arm": Served(1, 0.5),
    "not served": None,
}


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """Yield an empty log of two arms."""
    with opened(tmp_path, arms=("control", "treatment")) as log:
        yield log


def served(number: int, **changes: Any) -> Message:
    """Make up an example; every sixth is the treatment's own."""
    by = list(SERVED.values())[number % len(SERVED)]
    return example(number, **({"served": msgspec.to_builtins(by)} if by else {}), **changes)


def learned(stream: list[Record]) -> str:
    """Learn records without a learner by a model that learns all; return the digest of its weights."""
    trainer = Trainer(OnlineModel(SPEC), RunningScores())
    trainer.learn(stream)
    return trainer.model.digest()


@pytest.mark.parametrize("case", SERVED)
def test_it_learns_what_it_served_and_was_not_forced_to_and_nothing_that_another_or_nobody_did(log: Log, tmp_path: Path, case: str) -> None:
    log.append([served(list(SERVED).index(case))])

    version = learn_all(log, tmp_path, OWN, topics=ARM)

    assert version.examples == (case == "its own")
    assert version.offsets == {0: 1}


def test_its_weights_are_those_of_a_log_of_its_own_examples_and_requests_to_forget_however_the_log_is_cut(log: Log, tmp_path: Path) -> None:
    log.append([*map(served, range(90)), request(7, 1_000_050), *map(served, range(90, 120))])
    random = np.random.default_rng(0)

    version = learn_all(fragile(log, cut=lambda: int(random.integers(1, 9))), tmp_path, OWN, topics=ARM)

    stream = records(log, TOPICS.examples)
    assert version.digest == learned([*stream[:90:6], stream[90], *stream[91::6]])


def test_killed_and_without_checkpoints_it_comes_to_the_same_weights_and_so_does_a_rollback(log: Log, tmp_path: Path) -> None:
    log.append(list(map(served, range(60))))

    def die() -> None:
        if newest_version(log, ARM):
            raise Killed

    first = learn_all(log, tmp_path, OWN, topics=ARM)
    log.append(list(map(served, range(60, 120))))
    with pytest.raises(Killed):
        learn_all(fragile(log, after_commit=die), tmp_path, OWN, topics=ARM)
    shutil.rmtree(tmp_path / "checkpoints")
    again = learn_all(log, tmp_path, OWN, topics=ARM)
    stream = records(log, TOPICS.examples)
    back = roll_back(log, ARM, OWN, LearnSettings(directory=str(tmp_path / "checkpoints")), first.version, replay=True)
    after = learn_all(log, tmp_path, OWN, topics=ARM)

    assert [first.digest, again.digest] == [learned(stream[:60:6]), learned(stream[::6])]
    assert [back.digest, after.digest] == [first.digest, again.digest]


def test_it_sets_aside_no_example_of_another_arm_and_is_no_staler_than_who_learns_them(log: Log, tmp_path: Path) -> None:
    log.append([served(0, weight=1e6), served(1, weight=1e6), served(7)])

    version = learn_all(log, tmp_path, OWN, topics=ARM)

    assert version.excluded == [(0, 0)]
    assert [record.key for record in records(log, TOPICS.dead_letters)] == [b"i0"]
    assert version.trained_through == 1_000_007


def test_from_all_to_its_own_and_back_is_a_change_in_place_that_the_log_tells(log: Log, tmp_path: Path) -> None:
    digests = []
    for turn, spec in enumerate((SPEC, OWN, SPEC)):
        log.append(list(map(served, range(60 * turn, 60 * turn + 60))))
        digests.append(learn_all(log, tmp_path, spec, topics=ARM).digest)

    stream = records(log, TOPICS.examples)
    expected = [stream[:60], [*stream[:60], *stream[60:120:6]], [*stream[:60], *stream[60:120:6], *stream[120:]]]
    assert digests == list(map(learned, expected))
    for version, _ in read_versions(log, ARM, 0):
        assert rebuild(log, ARM, SPEC, Checkpoints(tmp_path / "none", 1), version.version).version.digest == version.digest
