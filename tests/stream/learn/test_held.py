"""A held version publishes its runs and no arrays: servers stay on the last good one through kills, restarts and rollbacks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from prometheus_client import CollectorRegistry

from stream.learn.order import OrderError, give_order
from stream.learn.restore.rollback import rebuild, roll_back
from stream.learn.saving.checkpoint import Checkpoint, Checkpoints
from stream.log.contract import Log, Message
from stream.log.topics import DELTAS, SNAPSHOTS
from stream.records.events import Example, encode
from stream.records.version import Version
from stream.settings import LearnSettings
from stream.weights.follow import newest_weights
from tests.model.guard.poisons import SPEC, Example as MadeUp, honest, labels_flipped, no_clicks
from tests.stream.learn.fragile import Killed, fragile
from tests.stream.learning import TOPICS, all_versions, learner, opened, records
from tests.stream.weights.test_follow import follow_to_the_end

GOOD = 18_000


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """Yield a log with a good time."""
    with opened(tmp_path) as log:
        send(log, honest(GOOD))
        yield log


def send(log: Log, made_up: list[MadeUp]) -> None:
    """Append examples."""
    first = log.bounds(TOPICS.examples)[0].end
    events = [Example(f"i{first + n}", 1_000_000 + first + n, each.features, each.label) for n, each in enumerate(made_up)]  # type: ignore[arg-type]
    log.append([Message(TOPICS.examples, each.impression_id.encode(), encode(each)) for each in events])


def learn(log: Log, folder: Path, registry: CollectorRegistry | None = None, **settings: float) -> Version:
    """Learn what the log holds, in a version a poll."""
    at_work = learner(log, folder, SPEC, registry=registry, **settings)
    at_work.run(lambda: False, until_caught_up=True)
    assert at_work.last
    return at_work.last.version


def last_good(log: Log) -> Version:
    """Return the last version that is not held."""
    return [version for version in all_versions(log) if not version.held][-1]


def arrays(log: Log, folder: Path) -> dict[str, bytes]:
    """Return the learner's whole state at the last version, from the log alone."""
    state = rebuild(log, TOPICS, SPEC, Checkpoints(folder / "nothing here", 3), all_versions(log)[-1].version)
    return whole(state)


def whole(state: Checkpoint) -> dict[str, bytes]:
    """Return a checkpoint's arrays, to compare."""
    return {name: array.tobytes() for name, array in state.arrays.items()}


def back(log: Log, folder: Path, to: int, *, replay: bool) -> Version:
    """Roll back."""
    return roll_back(log, TOPICS, SPEC, LearnSettings(directory=str(folder / "checkpoints")), to, replay=replay)


def test_held_versions_publish_their_runs_and_no_arrays_and_when_quality_returns_a_snapshot(log: Log, tmp_path: Path) -> None:
    registry = CollectorRegistry()
    learn(log, tmp_path)
    send(log, no_clicks(honest(3000, seed=1)))
    held = learn(log, tmp_path, registry)
    good, deltas = last_good(log), log.bounds(TOPICS.weights)[DELTAS].end

    assert held.held.keys() >= {"calibration"}
    assert held.offsets == {0: GOOD + 3000}
    assert held.snapshot == good.snapshot
    assert registry.get_sample_value("sml_learner_held", {"check": "calibration"}) == 1
    counted = len([each for each in all_versions(log) if "calibration" in each.held])
    assert registry.get_sample_value("sml_learner_held_versions_total", {"check": "calibration"}) == counted
    served = follow_to_the_end(log)
    assert (served.taken[-1].version, served.taken[-1].digest) == (good.version, good.digest)
    assert served.held == held

    learn(log, tmp_path)
    assert log.bounds(TOPICS.weights)[DELTAS].end == deltas
    send(log, honest(9000, seed=2))
    released = learn(log, tmp_path)

    first_good = next(each for each in all_versions(log) if each.version > held.version and not each.held)
    assert first_good.snapshot
    assert first_good.snapshot.version == first_good.version
    served = follow_to_the_end(log)
    assert (served.taken[-1].version, served.taken[-1].digest, served.held) == (released.version, released.digest, None)


@pytest.mark.parametrize("checkpoint_every", [0.0, 1000.0])
def test_a_learner_killed_while_versions_are_held_judges_as_one_that_was_not(checkpoint_every: float, log: Log, tmp_path: Path) -> None:
    learn(log, tmp_path)
    send(log, labels_flipped(honest(2500, seed=1)))
    commits = iter([False, False, True])

    def kill() -> None:
        if next(commits, False):
            raise Killed

    with pytest.raises(Killed):
        learn(fragile(log, before_commit=kill), tmp_path, checkpoint_every=checkpoint_every)
    before = all_versions(log)[-1]
    held = learn(log, tmp_path, checkpoint_every=checkpoint_every)

    assert held.held
    assert held.version > before.version
    saved = next(Checkpoints(tmp_path / "checkpoints", 3).newest_first())
    assert saved.version == held
    assert whole(saved) == arrays(log, tmp_path)  # made again from the log, without a checkpoint: the guard's state, too
    assert newest_weights(log, TOPICS)[0].version == last_good(log).version


@pytest.mark.parametrize("replay", [False, True])
def test_a_rollback_while_versions_are_held_is_served_and_the_guard_is_that_of_then(replay: bool, log: Log, tmp_path: Path) -> None:
    learn(log, tmp_path)
    good = all_versions(log)[-1]
    send(log, no_clicks(honest(3000, seed=1)))
    assert learn(log, tmp_path).held

    back(log, tmp_path, good.version, replay=replay)
    assert newest_weights(log, TOPICS)[0].digest == good.digest
    last = learn(log, tmp_path)

    assert bool(last.held) is replay  # the poison is learned again, and held again
    assert whole(next(Checkpoints(tmp_path / "checkpoints", 3).newest_first())) == arrays(log, tmp_path)


def test_the_snapshot_of_the_last_good_version_is_repeated_while_versions_are_held(log: Log, tmp_path: Path) -> None:
    learn(log, tmp_path)
    send(log, no_clicks(honest(2000, seed=1)))
    held = learn(log, tmp_path)
    before = log.bounds(TOPICS.weights)[SNAPSHOTS].end

    learner(log, tmp_path, SPEC, weights_retention=0.4).run(lambda: all_versions(log)[-1].snapshot != held.snapshot)

    last = all_versions(log)[-1]
    assert last.held
    assert last.snapshot
    assert last.snapshot.first >= before
    assert last.snapshot.version == last_good(log).version
    header, weights = newest_weights(log, TOPICS)
    assert header.version == last_good(log).version
    assert weights.digest() == last_good(log).digest


def test_a_person_approves_what_is_held_and_it_is_served(log: Log, tmp_path: Path) -> None:
    learn(log, tmp_path)
    with pytest.raises(OrderError, match="nothing to approve"):
        give_order(log, TOPICS, "approve", "cli:ada")
    send(log, no_clicks(honest(3000, seed=1)))
    held = learn(log, tmp_path)

    order = give_order(log, TOPICS, "approve", "cli:ada")
    approved = learn(log, tmp_path)

    assert (order.order, order.by, order.runs, order.digest) == ("approve", "cli:ada", [], held.digest)
    assert (approved.held, approved.digest) == ({}, held.digest)
    assert newest_weights(log, TOPICS)[0].digest == held.digest
    assert whole(next(Checkpoints(tmp_path / "checkpoints", 3).newest_first())) == arrays(log, tmp_path)


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_what_a_person_holds_stays_held_until_it_is_approved(where: Literal["here", "elsewhere"], log: Log, tmp_path: Path) -> None:
    good = learn(log, tmp_path)
    give_order(log, TOPICS, "hold", "cli:ada")
    send(log, honest(1000, seed=1))

    held = learn(log, tmp_path / where)

    assert held.held == {"person": "held by cli:ada"}
    assert newest_weights(log, TOPICS)[0].version == good.version
    give_order(log, TOPICS, "approve", "cli:ada")
    assert newest_weights(log, TOPICS)[0].version == good.version
    assert not learn(log, tmp_path / where).held
    send(log, no_clicks(honest(1000, seed=2)))
    assert learn(log, tmp_path / where).held  # the guard goes on from the good time that it had


def test_an_order_reaches_a_learner_at_work(log: Log, tmp_path: Path) -> None:
    ordered: list[Version] = []
    learn(log, tmp_path)
    send(log, honest(3000, seed=1))

    def interfere() -> None:
        if not ordered:
            ordered.append(give_order(log, TOPICS, "hold", "cli:ada"))

    last = learn(fragile(log, lambda: 500, before_commit=interfere), tmp_path)

    assert (last.held, last.offsets) == ({"person": "held by cli:ada"}, {0: GOOD + 3000})
    assert len(records(log, TOPICS.versions)) == last.version + 1


def test_nan_in_the_stream_is_set_aside_and_holds_nothing(log: Log, tmp_path: Path) -> None:
    record = b'{"impression_id": "nan", "time": 1, "features": {"user": "u1", "item": "i1", "price": NaN}, "label": 1}'
    log.append([Message(TOPICS.examples, b"nan", record)] * 50)

    last = learn(log, tmp_path)

    assert [each for each in all_versions(log) if each.held] == []
    assert last.offsets == {0: GOOD + 50}
    assert len(records(log, TOPICS.dead_letters)) == 50
