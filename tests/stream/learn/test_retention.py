"""A learner that was away for longer than the log keeps what it needs says what is gone, and how to go on."""

import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from stream.learn.errors import GapError, RecoveryError
from stream.learn.restore.recovery import Recovery
from stream.learn.restore.rollback import rebuild
from stream.learn.saving.checkpoint import Checkpoints
from stream.log.contract import Log, Retention
from stream.log.topics import DELTAS, SNAPSHOTS
from stream.records.version import LearnerState, Version
from stream.weights.follow import Follower
from stream.weights.metrics import FollowerMetrics
from stream.weights.versions import newest_version
from tests.stream.learn.forgetting import WHO, by, holds, request
from tests.stream.learning import SPEC, TOPICS, examples, forget, learn_all, learner


def end_of(log: Log, topic: str) -> int:
    return log.bounds(topic)[0].end


def test_a_learner_goes_on_from_its_checkpoint_once_all_versions_are_gone_and_nothing_came_after_it(log: Log, tmp_path: Path) -> None:
    log.append(examples(20))
    before = learn_all(log, tmp_path)
    forget(tmp_path, TOPICS.versions, 0, end_of(log, TOPICS.versions))
    log.append(examples(10, first=20))

    last = learn_all(log, tmp_path)

    assert last.examples == 30
    assert last.version > before.version
    assert last.runs[0].first == 20


def test_versions_that_are_gone_before_they_were_learned_again_stop_the_learner(log: Log, tmp_path: Path) -> None:
    log.append(examples(20))
    learn_all(log, tmp_path)
    saved = next(iter(Checkpoints(tmp_path / "checkpoints", 3).newest_first()))
    log.append(examples(10, first=20))
    learn_all(log, tmp_path / "elsewhere", accept_gap=True)
    forget(tmp_path, TOPICS.versions, 0, saved.offset + 1)

    with pytest.raises(GapError, match=f"versions after {saved.version.version} were deleted .* --accept-gap goes on from the checkpoint"):
        learn_all(log, tmp_path)

    log.append(examples(5, first=30))
    assert learn_all(log, tmp_path, accept_gap=True).offsets == {0: 35}
    assert learn_all(log, tmp_path).offsets == {0: 35}


@pytest.mark.parametrize("all_gone", [False, True])
def test_a_checkpoint_from_before_a_request_that_the_log_holds_no_longer_brings_nothing_back(
    log: Log, tmp_path: Path, all_gone: bool
) -> None:
    log.append([*examples(20), *by(WHO, 10)])
    learn_all(log, tmp_path)
    saved = next(iter(Checkpoints(tmp_path / "checkpoints", 3).newest_first()))
    assert holds(saved.restore().model.weights)
    log.append([request(), *examples(10, first=30)])
    forgot = learn_all(log, tmp_path / "elsewhere")
    for n in range(3):
        log.append(examples(5, first=40 + 5 * n))
        learn_all(log, tmp_path / "elsewhere")
    versions, gone = log.bounds(TOPICS.versions)[0], end_of(log, TOPICS.examples) - 5
    forget(tmp_path, TOPICS.versions, 0, versions.end if all_gone else versions.end - 1)
    forget(tmp_path, TOPICS.examples, 0, gone)

    with pytest.raises(GapError, match=r"--accept-gap goes on from the checkpoint of version \d+, if none of them forgot a value"):
        learn_all(log, tmp_path)
    with pytest.raises(RecoveryError, match="can't be made again"):
        rebuild(log, TOPICS, SPEC, Checkpoints(tmp_path / "checkpoints", 3), saved.version.version)
    last = learn_all(log, tmp_path, accept_gap=True)

    assert forgot.forgotten
    assert last.examples == (5 if all_gone else forgot.examples + 15)  # a new model, or the weights that servers have
    assert not holds(next(iter(Checkpoints(tmp_path / "checkpoints", 3).newest_first())).restore().model.weights)


def test_a_checkpoint_that_knows_of_the_last_request_is_used_though_versions_after_it_are_gone(log: Log, tmp_path: Path) -> None:
    log.append([*examples(20), *by(WHO, 10), request()])
    learn_all(log, tmp_path)
    saved = next(iter(Checkpoints(tmp_path / "checkpoints", 3).newest_first()))
    for n in range(3):
        log.append(examples(5, first=30 + 5 * n))
        learn_all(log, tmp_path / "elsewhere")
    forget(tmp_path, TOPICS.versions, 0, end_of(log, TOPICS.versions) - 1)

    last = learn_all(log, tmp_path, accept_gap=True)

    assert last.examples > saved.version.examples
    assert last.forgot_before is not None
    assert last.forgot_before <= saved.version.version


def test_a_request_whose_record_is_gone_is_carried_out_as_the_version_says(log: Log, tmp_path: Path) -> None:
    log.append([*examples(20), *by(WHO, 10)])
    learn_all(log, tmp_path)
    log.append([request(), *examples(10, first=30)])
    last = learn_all(log, tmp_path / "elsewhere")
    forget(tmp_path, TOPICS.examples, 0, last.offsets[0] - 1)

    recovered = Recovery(log, TOPICS, SPEC, Checkpoints(tmp_path / "checkpoints", 3), accept_gap=True).recover()

    assert recovered.saved >= 0
    assert not holds(recovered.trainer.model.weights)


def test_a_model_whose_checkpoints_and_first_versions_are_gone_begins_anew_if_it_is_told_to(log: Log, tmp_path: Path) -> None:
    log.append(examples(30))
    before = learn_all(log, tmp_path)
    forget(tmp_path, TOPICS.examples, 0, 10)
    forget(tmp_path, TOPICS.versions, 0, 1)
    forget(tmp_path, TOPICS.weights, SNAPSHOTS, end_of_snapshots(log))

    with pytest.raises(GapError, match=r"holds no version before offset 1 any more, .*: put them back, or --accept-gap begins a new model"):
        learn_all(log, tmp_path / "elsewhere")

    anew = learn_all(log, tmp_path / "elsewhere", accept_gap=True)
    assert anew.examples == 20  # all that the log still held
    assert anew.version > before.version
    log.append(examples(5, first=30))
    assert learn_all(log, tmp_path / "elsewhere").examples == 25


def test_a_past_version_that_nothing_is_left_of_can_not_be_made_again(log: Log, tmp_path: Path) -> None:
    log.append(examples(30))
    last = learn_all(log, tmp_path)
    forget(tmp_path, TOPICS.versions, 0, 1)

    with pytest.raises(RecoveryError, match=f"version {last.version} can't be made again: .* holds no version before offset 1"):
        rebuild(log, TOPICS, SPEC, Checkpoints(tmp_path / "nothing", 3), last.version)


def end_of_snapshots(log: Log) -> int:
    return log.bounds(TOPICS.weights)[SNAPSHOTS].end


class Served:
    """A service that notes what it serves."""

    caught_up = False
    held: Version | None = None
    learner: LearnerState | None = None
    version = -1

    def hand_over(self, header: object, weights: object) -> None:  # noqa: ARG002
        self.version = header.version  # type: ignore[attr-defined]


def test_the_newest_version_and_its_snapshot_outlive_ten_retentions_in_which_nothing_is_learned(log: Log, tmp_path: Path) -> None:
    log.retain(TOPICS.versions, Retention(2.0))
    log.retain(TOPICS.weights, Retention(1.0))
    log.append(examples(20))
    idle = learner(log, tmp_path, checkpoint_every=0.2, snapshot_every=300.0, weights_retention=1.0)
    missing, held = [], []
    end, start = time.monotonic() + 12, time.monotonic()

    def look() -> bool:
        newest = newest_version(log, TOPICS)
        if time.monotonic() > start + 3:
            bounds = log.bounds(TOPICS.weights)
            usable = (
                newest
                and newest.version.snapshot
                and (bounds[SNAPSHOTS].first <= newest.version.snapshot.first and bounds[DELTAS].first <= newest.version.snapshot.deltas)
            )
            missing.extend([] if usable else [newest])
            held.append(sum(each.end - each.first for each in bounds.values()))
        return time.monotonic() > end

    idle.run(look)

    assert missing == []
    assert log.bounds(TOPICS.versions)[0].first > 10
    assert log.bounds(TOPICS.weights)[SNAPSHOTS].first > 20
    assert max(held) < 80
    assert learn_all(log, tmp_path).examples == 20
    served = Served()
    Follower(log, TOPICS, served, FollowerMetrics(CollectorRegistry())).run(lambda: served.version >= 0)  # a new server still starts
