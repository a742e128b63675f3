"""An arm with other settings begins with another's newest weights, as far as they fit, and the log tells with which."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from model.settings import ModelSettings, Spec, TableSettings
from stream.learn.errors import LearnError, RecoveryError
from stream.learn.order import give_order
from stream.learn.restore.begin import Source
from stream.learn.restore.rollback import rebuild, roll_back
from stream.learn.saving.checkpoint import Checkpoints
from stream.log.contract import Log, Message
from stream.log.sqlite.log import SqliteLog
from stream.records.events import encode
from stream.records.version import Begun, Version
from stream.settings import LearnSettings
from stream.weights.follow import newest_weights
from stream.weights.versions import newest_version, read_versions
from tests.stream.learn.forgetting import UNTIL, by, holds, request
from tests.stream.learn.fragile import Killed, fragile
from tests.stream.learning import SPEC, TOPICS, examples, learn_all, learner, opened, records, tamper

ARM = TOPICS._replace(arm="treatment")


def changed(**model: Any) -> Spec:
    """Return the settings of the treatment: control's, but for some of the model."""
    return SPEC.model_copy(update={"model": SPEC.model.model_copy(update=model)})


OTHER = changed(hidden=(8, 6, 4), skip="none", tower_rate=0.03)  # the second layer and the last differ in width


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """Yield the log of two arms, of which control has learned a hundred examples."""
    with opened(tmp_path, arms=("control", "treatment", "shadow", "other")) as log:
        log.append(examples(100))
        learn_all(log, tmp_path)
        yield log


def source(folder: Path) -> Source:
    """Return control."""
    return Source(TOPICS, SPEC, Checkpoints(folder / "checkpoints", 3))


def begin(log: Log, folder: Path, spec: Spec = OTHER, **options: Any) -> Version:
    """Let the treatment learn what the log holds, from control's weights if it has none."""
    options = {"begin_from": source(folder)} | options
    return learn_all(log, folder / "arm", spec, topics=ARM, **options)


def first_version(log: Log) -> Version:
    """Return the treatment's first version."""
    return next(read_versions(log, ARM, 0)).version


def test_it_goes_on_from_controls_last_version_with_its_rows_and_the_parameters_whose_shapes_agree(log: Log, tmp_path: Path) -> None:
    control = newest_version(log, TOPICS)
    before = newest_weights(log, TOPICS)[1]

    version = begin(log, tmp_path)

    after = newest_weights(log, ARM)[1]
    assert control is not None
    assert first_version(log).begun == Begun("control", control.version.version, accumulators=True)
    assert (version.runs, version.offsets, version.examples) == ([], {0: 100}, 100)
    assert version.trained_through == control.version.trained_through
    assert (after.keys == before.keys).all()
    assert (after.rows == before.rows).all()
    ours, theirs = (each.layout.named(each.dense) for each in (after, before))
    same = {name for name in ours if name in theirs and ours[name].shape == theirs[name].shape and (ours[name] == theirs[name]).all()}
    assert same == {"tower.0.weight", "tower.0.bias", "records", "output", "bias", "defaults"}
    assert ours["tower.1.weight"].std() > 0  # drawn, not zero


def test_what_it_learns_from_there_is_what_the_converted_state_learns(log: Log, tmp_path: Path) -> None:
    control = Checkpoints(tmp_path / "checkpoints", 3).read(Checkpoints(tmp_path / "checkpoints", 3).paths()[-1]).restore()
    log.append(examples(50, first=100))

    version = begin(log, tmp_path)

    expected = control.begin(OTHER, accumulators=True)
    expected.learn(records(log, TOPICS.examples)[100:])
    assert (version.digest, version.examples) == (expected.model.digest(), 150)


@pytest.mark.parametrize("lost", ["nothing", "its checkpoints", "all checkpoints"])
def test_it_is_made_again_from_the_log_exactly_whatever_checkpoints_are_lost(log: Log, tmp_path: Path, lost: str) -> None:
    begin(log, tmp_path)
    log.append(examples(50, first=100))
    learn_all(log, tmp_path)
    last = begin(log, tmp_path)
    for folder in {"nothing": (), "its checkpoints": ("arm",), "all checkpoints": ("arm", "checkpoints")}[lost]:
        shutil.rmtree(tmp_path / folder)

    again = learn_all(log, tmp_path / "arm", OTHER, topics=ARM)

    assert again.digest == last.digest
    rebuilt = rebuild(log, ARM, OTHER, Checkpoints(tmp_path / "none", 1), 0)
    assert rebuilt.version.digest == first_version(log).digest
    back = roll_back(log, ARM, OTHER, LearnSettings(directory=str(tmp_path / "arm/checkpoints")), 0, replay=True)
    assert (back.digest, begin(log, tmp_path).digest) == (first_version(log).digest, last.digest)


@pytest.mark.parametrize("after", [False, True])
def test_killed_when_it_begins_it_has_begun_once(log: Log, tmp_path: Path, after: bool) -> None:
    def die() -> None:
        raise Killed

    with pytest.raises(Killed):
        begin(fragile(log, **{"after_commit" if after else "before_commit": die}), tmp_path)
    killed = newest_version(log, ARM)
    log.append(examples(50, first=100))
    control = learn_all(log, tmp_path).version
    if after:
        shutil.rmtree(tmp_path / "checkpoints")  # what it began with is in its own folder
    version = begin(log, tmp_path)

    assert (killed is not None) is after
    assert [each.begun for each, _ in read_versions(log, ARM, 0) if each.begun] == [
        Begun("control", 1 if after else control, accumulators=True)
    ]
    assert version.examples == 150
    assert not (tmp_path / "arm/checkpoints/.begun").exists()


def begin_for_ever(folder: Path) -> None:
    """Let the treatment begin and learn until killed."""
    with SqliteLog(f"sqlite:///{folder / 'log.db'}") as log:
        learner(log, folder / "arm", OTHER, topics=ARM, begin_from=source(folder), checkpoint_every=0.1).run(lambda: False)


def test_a_process_killed_while_it_begins_and_after_has_begun_once_and_learned_each_example_once(log: Log, tmp_path: Path) -> None:
    program = "import sys, pathlib, tests.stream.learn.restore.test_begin as begin; begin.begin_for_ever(pathlib.Path(sys.argv[1]))"
    moments: list[Callable[[], object]] = [
        lambda: list(tmp_path.glob("arm/checkpoints/.begun/*")),
        lambda: newest_version(log, ARM),
    ]
    for n, moment in enumerate(moments):
        with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)]) as process:
            while not moment() and process.poll() is None:
                time.sleep(0.001)
            process.kill()
        log.append(examples(20, first=100 + 20 * n))
        learn_all(log, tmp_path)

    version = begin(log, tmp_path)

    assert version.examples == 140
    assert len([each for each, _ in read_versions(log, ARM, 0) if each.begun]) == 1
    assert rebuild(log, ARM, OTHER, Checkpoints(tmp_path / "none", 1), version.version).version.digest == version.digest


def test_without_controls_checkpoints_it_begins_with_the_weights_and_accumulators_of_a_new_model(log: Log, tmp_path: Path) -> None:
    before = newest_weights(log, TOPICS)[1]

    control = newest_version(log, TOPICS)

    version = begin(log, tmp_path, SPEC, begin_from=source(tmp_path / "elsewhere"))

    after = Checkpoints(tmp_path / "arm/checkpoints", 1).read(Checkpoints(tmp_path / "arm/checkpoints", 1).paths()[-1]).restore().model
    assert version.digest == before.digest()
    assert control is not None
    assert first_version(log).begun == Begun("control", control.version.version, accumulators=False)
    assert set(after.accumulators.tolist()) == {np.float32(0.003), np.float32(1.0)}
    shutil.rmtree(tmp_path / "arm")
    log.append(examples(50, first=100))
    assert learn_all(log, tmp_path / "arm", SPEC, topics=ARM).examples == 150  # made again from the log


@pytest.mark.parametrize("checkpoints", [True, False])
def test_what_was_forgotten_stays_forgotten(log: Log, tmp_path: Path, checkpoints: bool) -> None:
    log.append([*by(17, 10, first=200), request(), *examples(20, first=300)])
    learn_all(log, tmp_path)
    log.append(by(17, 10, first=400))  # from before the request, by their time

    version = begin(log, tmp_path, begin_from=source(tmp_path if checkpoints else tmp_path / "elsewhere"))

    assert UNTIL > 1_000_410
    assert version.examples == 130
    assert not holds(newest_weights(log, ARM)[1])


def test_from_an_arm_that_is_held_nothing_begins_and_from_one_that_knows_nothing_it_begins_from_nothing(log: Log, tmp_path: Path) -> None:
    give_order(log, TOPICS, "hold", "me")

    with pytest.raises(LearnError, match="control is held, so nothing begins from it: approve what it has learned, or roll it back"):
        begin(log, tmp_path)
    assert newest_version(log, ARM) is None

    alone = begin(log, tmp_path, begin_from=Source(TOPICS._replace(arm="shadow"), SPEC, Checkpoints(tmp_path / "shadow", 1)))
    assert (alone.examples, first_version(log).begun) == (100, None)


def test_if_neither_what_it_began_with_nor_the_log_that_made_it_is_left_it_says_so(log: Log, tmp_path: Path) -> None:
    begin(log, tmp_path)
    shutil.rmtree(tmp_path / "arm")
    log.release(TOPICS.versions, {0: 1})

    with pytest.raises(RecoveryError, match=r"learning.versions holds no version before offset 1 any more"):
        learn_all(log, tmp_path / "arm", OTHER, topics=ARM)


def test_arms_that_are_said_to_have_begun_from_each_other_end_the_learner_with_a_sentence(log: Log, tmp_path: Path) -> None:
    version = begin(log, tmp_path)
    lie = msgspec.structs.replace(version, begun=Begun("shadow", 0, accumulators=True))
    back = msgspec.structs.replace(version, begun=Begun("treatment", 0, accumulators=True))
    for arm, false in (("shadow", back), ("other", lie)):
        topics = TOPICS._replace(arm=arm)
        log.append([Message(topics.versions, None, encode(false), partition=0)])
    tamper(tmp_path, ARM.versions, 0, 0, encode(lie))
    shutil.rmtree(tmp_path / "arm")

    for arm, begun in (("treatment", "treatment"), ("other", "shadow")):
        with pytest.raises(RecoveryError, match=f"a version begins from {begun}, which only the first of another arm does"):
            learn_all(log, tmp_path / "arm", OTHER, topics=TOPICS._replace(arm=arm))


def test_rows_of_another_width_are_not_taken_and_a_smaller_table_keeps_what_was_used_last(log: Log, tmp_path: Path) -> None:
    narrow = begin(log, tmp_path, changed(embedding=3))
    assert not newest_weights(log, ARM)[1].keys.any()
    assert narrow.examples == 100

    small = SPEC.model_copy(update={"table": TableSettings(capacity=16), "model": ModelSettings(hidden=(8, 4), embedding=4)})
    with opened(tmp_path / "b", arms=("control", "treatment")) as other:
        other.append(examples(100))
        learn_all(other, tmp_path / "b")
        begin(other, tmp_path / "b", small)
        weights = newest_weights(other, ARM)[1]
        assert weights.keys.all()
        assert all(weights.has(int(key)) for key in weights.keys)
        other.append(examples(50, first=100))
        assert begin(other, tmp_path / "b", small).examples == 150
