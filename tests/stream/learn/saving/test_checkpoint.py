"""A checkpoint is loaded exactly as it was saved, or not at all."""

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from model.evaluation.scores import RunningScores
from model.online import OnlineModel
from stream.learn.saving.checkpoint import Checkpoint, Checkpoints, DamagedCheckpointError
from stream.learn.trainer import Trainer
from stream.log.contract import Record
from stream.records.version import Version
from tests.helpers.full_disk import full_disk
from tests.stream.learning import SPEC, examples


def trained(count: int) -> Trainer:
    """Return a model that has learned ``count`` examples."""
    trainer = Trainer(OnlineModel(SPEC), RunningScores())
    trainer.learn(stream(count))
    return trainer


def stream(count: int, first: int = 0) -> list[Record]:
    """Return examples as a reader does."""
    return [Record(m.topic, 0, first + n, 0, m.key, m.value) for n, m in enumerate(examples(count, first))]


def checkpoint_of(trainer: Trainer, number: int) -> Checkpoint:
    """Make a checkpoint of ``trainer`` as version ``number``."""
    version = Version(number, trainer.model.digest(), trainer.model.examples, 7, {0: trainer.model.examples}, [], [], "", "", 0)
    return Checkpoint.of(version, number, trainer)


def test_learning_goes_on_from_a_checkpoint_as_if_nothing_had_happened() -> None:
    trainer = trained(300)

    restored = Checkpoint.from_bytes(checkpoint_of(trainer, 1).to_bytes()).restore()

    for each in (trainer, restored):
        each.learn(stream(300, 300))
    assert restored.model.digest() == trainer.model.digest()
    assert restored.scores.total() == trainer.scores.total()
    for name, array in trainer.model.state().items():
        np.testing.assert_array_equal(restored.model.state()[name], array, err_msg=name)


def test_a_checkpoint_holds_what_was_and_not_what_is_learned_later() -> None:
    trainer = trained(100)
    digest = trainer.model.digest()

    checkpoint = checkpoint_of(trainer, 1)
    trainer.learn(stream(100, 100))

    assert checkpoint.restore().model.digest() == digest


def test_its_version_comes_back_as_it_was_published() -> None:
    checkpoint = checkpoint_of(trained(3), 12)

    loaded = Checkpoint.from_bytes(checkpoint.to_bytes())

    assert (loaded.version, loaded.offset, loaded.spec) == (checkpoint.version, 12, SPEC)


DATA = checkpoint_of(trained(20), 1).to_bytes()


@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
@settings(max_examples=200, deadline=None)
def test_a_checkpoint_with_any_byte_changed_is_refused(position: int, change: int) -> None:
    damaged = bytearray(DATA)
    damaged[position] ^= change

    with pytest.raises(DamagedCheckpointError):
        Checkpoint.from_bytes(bytes(damaged))


@pytest.mark.parametrize("content", [b"", DATA[: len(DATA) // 2], b"{}" * 100], ids=["empty", "torn", "foreign"])
def test_a_damaged_newest_falls_back_to_the_one_before_and_says_why(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(tmp_path, keep=3)
    checkpoints.save(checkpoint_of(trained(10), 1))
    (tmp_path / "version-000000000002.checkpoint").write_bytes(content)

    with caplog.at_level(logging.WARNING):
        newest = next(checkpoints.newest_first())

    assert newest.version.version == 1
    assert "version-000000000002.checkpoint: not a checkpoint" in caplog.text


def test_only_the_last_few_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)

    for number in (1, 2, 3, 4):
        checkpoints.save(checkpoint_of(trained(1), number))

    assert [checkpoint.version.version for checkpoint in checkpoints.newest_first()] == [4, 3]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_full_disk_leaves_the_checkpoints_before_as_they_were(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(checkpoint_of(trained(10), 1))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    with pytest.raises(OSError, match=r"File too large: '.*/version-000000000002.checkpoint'"), full_disk():
        checkpoints.save(checkpoint_of(trained(20), 2))

    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_a_killed_writer_left_is_no_checkpoint_and_is_tidied_away(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=3)
    left = tmp_path / "version-000000000009.checkpoint.0badcafe.part"
    left.write_bytes(DATA)

    assert list(checkpoints.newest_first()) == []

    checkpoints.tidy()
    assert not left.exists()
