"""A forgotten value is gone from checkpoints and servers, and stays gone whatever is killed, learned again or rolled back."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from prometheus_client import CollectorRegistry

from model.settings import Field
from model.weights import Weights
from stream.learn.restore.recovery import Recovery
from stream.learn.restore.rollback import rebuild, roll_back
from stream.learn.saving.checkpoint import Checkpoints
from stream.log.contract import Log
from stream.settings import LearnSettings
from stream.weights.follow import Follower
from stream.weights.metrics import FollowerMetrics
from tests.stream.learn.forgetting import WHO, as_records, by, holds, request, trained
from tests.stream.learn.fragile import fragile
from tests.stream.learning import SPEC, TOPICS, all_versions, examples, learn_all, learner, opened, polls, records
from tests.stream.weights.test_follow import Service


def test_recovery_forgets_again_from_any_checkpoint_and_from_the_log_alone(log: Log, tmp_path: Path) -> None:
    log.append([*examples(50), *by(WHO, 10)])
    learn_all(fragile(log, lambda: 10), tmp_path)
    (before,) = Checkpoints(tmp_path / "checkpoints", 3).paths()
    saved = before.read_bytes()
    log.append([request(), *by(WHO, 10), *examples(30, first=50)])
    last = learn_all(fragile(log, lambda: 10), tmp_path)

    after = Recovery(log, TOPICS, SPEC, Checkpoints(tmp_path / "checkpoints", 3)).recover()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / before.name).write_bytes(saved)
    from_before = Recovery(log, TOPICS, SPEC, Checkpoints(tmp_path / "old", 3)).recover()
    from_the_log = Recovery(log, TOPICS, SPEC, Checkpoints(tmp_path / "none", 3)).recover()

    for recovered in (after, from_before, from_the_log):
        assert not recovered.diverged
        assert recovered.trainer.model.digest() == last.digest
        assert not holds(recovered.trainer.model.weights)
        recovered.trainer.learn(as_records(by(WHO, 3)))
        assert not holds(recovered.trainer.model.weights)


def test_checkpoints_that_remember_go_once_one_that_does_not_is_saved(log: Log, tmp_path: Path) -> None:
    log.append([*examples(50), *by(WHO, 10)])
    for _ in range(3):
        learn_all(log, tmp_path)
        log.append(examples(5, first=100))
    checkpoints = Checkpoints(tmp_path / "checkpoints", 3)
    assert len(checkpoints.paths()) == 3

    log.append([request()])

    assert forgets_at_work(log, tmp_path)
    assert len(checkpoints.paths()) == 1


def forgets_at_work(log: Log, folder: Path) -> bool:
    """Let a learner work that would save at its end only, until no checkpoint holds the value; return whether that came."""
    checkpoints, polls_left = Checkpoints(folder / "checkpoints", 3), iter(range(50))

    def forgotten() -> bool:
        saved = list(checkpoints.newest_first())
        return bool(saved) and not any(holds(checkpoint.restore().model.weights) for checkpoint in saved)

    learner(log, folder, checkpoint_every=3600.0).run(lambda: forgotten() or next(polls_left, None) is None)
    return next(polls_left, None) is not None


def test_they_go_soon_after_a_restart_too_if_the_learner_was_killed_before_it_saved(log: Log, tmp_path: Path) -> None:
    log.append([*examples(50), *by(WHO, 10)])
    learn_all(log, tmp_path)
    checkpoints = Checkpoints(tmp_path / "checkpoints", 3)
    (old,) = checkpoints.paths()
    remembering = old.read_bytes()
    log.append([request()])
    learn_all(log, tmp_path)
    for path in checkpoints.paths():
        path.unlink()
    old.write_bytes(remembering)  # as if the version had been published, and never saved

    assert forgets_at_work(log, tmp_path)


@pytest.mark.parametrize("replay", [False, True])
def test_a_rollback_to_before_the_request_forgets_again(log: Log, tmp_path: Path, replay: bool) -> None:
    log.append([*examples(50), *by(WHO, 10)])
    to = learn_all(fragile(log, lambda: 10), tmp_path).version
    log.append([*by(WHO, 10), request(), *examples(30, first=50)])
    learn_all(fragile(log, lambda: 10), tmp_path)

    back = roll_back(log, TOPICS, SPEC, LearnSettings(directory=str(tmp_path / "checkpoints")), to, replay=replay)
    rolled = Recovery(log, TOPICS, SPEC, Checkpoints(tmp_path / "checkpoints", 3)).recover()
    assert rolled.saved == to
    last = learn_all(fragile(log, lambda: 10), tmp_path)

    assert not holds(rolled.trainer.model.weights)
    assert rolled.trainer.model.digest() == back.digest
    recovered = Recovery(log, TOPICS, SPEC, Checkpoints(tmp_path / "none", 3)).recover()
    assert recovered.trainer.model.digest() == last.digest
    assert not holds(recovered.trainer.model.weights)
    assert not any(holds(each.restore().model.weights) for each in Checkpoints(tmp_path / "checkpoints", 3).newest_first())


def test_requests_among_versions_that_several_rollbacks_left_behind_stay_done(log: Log, tmp_path: Path) -> None:
    settings = LearnSettings(directory=str(tmp_path / "checkpoints"))
    log.append([*examples(50), *by(WHO, 10), *by(18, 10), *by(19, 10)])
    to = learn_all(fragile(log, lambda: 10), tmp_path).version
    for who in (WHO, 18, 19):
        log.append([request(who), *examples(10, first=who)])
        learn_all(fragile(log, lambda: 10), tmp_path)
        roll_back(log, TOPICS, SPEC, settings, to, replay=False)
    last = learn_all(log, tmp_path)

    recovered = Recovery(log, TOPICS, SPEC, Checkpoints(tmp_path / "none", 3)).recover()

    assert recovered.trainer.model.digest() == last.digest
    assert not any(holds(recovered.trainer.model.weights, who) for who in (WHO, 18, 19))


def test_a_rebuilt_state_of_before_is_without_the_value(log: Log, tmp_path: Path) -> None:
    log.append([*examples(50), *by(WHO, 10)])
    to = learn_all(fragile(log, lambda: 10), tmp_path).version
    log.append([request()])
    learn_all(log, tmp_path)

    state = rebuild(log, TOPICS, SPEC, Checkpoints(tmp_path / "none", 3), to)

    assert not holds(state.restore().model.weights)
    assert state.version.digest == all_versions(log)[to].digest


def test_the_value_stays_forgotten_when_fields_come_and_go(log: Log, tmp_path: Path) -> None:
    log.append([*examples(50), *by(WHO, 10), request()])
    learn_all(log, tmp_path)
    wider = SPEC.model_copy(update={"fields": (*SPEC.fields, Field(name="new"))})
    log.append([*by(WHO, 10), *examples(10, first=60)])

    learn_all(log, tmp_path, wider)

    (newest, *_) = Checkpoints(tmp_path / "checkpoints", 3).newest_first()
    assert not holds(newest.restore().model.weights)
    assert newest.version.examples == 70


def test_a_flood_of_requests_comes_in_versions_that_the_log_takes(log: Log, tmp_path: Path) -> None:
    log.append(examples(10))
    log.append([request(n) for n in range(25_000)])

    learn_all(log, tmp_path)

    assert sum(len(version.forgotten) for version in all_versions(log)) == 25_000
    assert max(len(record.value or b"") for record in records(log, TOPICS.versions)) < 1_000_000


# Servers


def test_a_server_that_follows_loses_the_value_and_a_new_one_never_has_it(log: Log, tmp_path: Path) -> None:
    log.append([*examples(50), *by(WHO, 10)])
    learn_all(log, tmp_path)
    assert holds(followed(log))

    log.append([request()])
    learn_all(log, tmp_path)

    assert not holds(followed(log))


def followed(log: Log) -> Weights:
    """Return the newest weights that a follower hands over."""
    service = Service()
    Follower(log, TOPICS, service, FollowerMetrics(CollectorRegistry())).run(lambda: service.caught_up)
    return service.weights


@given(data=st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whenever_the_learner_is_killed_the_weights_are_those_of_one_that_was_not(data: st.DataObject) -> None:
    messages = [*examples(30), *by(WHO, 5), request(), *by(WHO, 5), *by(WHO, 3, first=501), *examples(10, first=30)]
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder)) as log:
        log.append(messages)
        for _ in range(data.draw(st.integers(1, 4))):
            learner(fragile(log, lambda: 5), Path(folder), checkpoint_every=0.0).run(polls(data.draw(st.integers(1, 12))))
        last = learn_all(log, Path(folder))

        assert last.digest == trained(messages).model.digest()
