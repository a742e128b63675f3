"""Any past state can be made again from the log, with the digest that was published then, and can become the next version."""

import random
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from stream.dead_letters import dead_letters
from stream.learn.errors import GapError, RecoveryError
from stream.learn.restore.rollback import rebuild, roll_back
from stream.learn.saving.checkpoint import Checkpoint, Checkpoints
from stream.log.contract import FencedError, Log, Message
from stream.records.events import encode
from stream.records.version import Rollback, Version, decode_version
from stream.settings import LearnSettings
from stream.weights.follow import Follower
from stream.weights.metrics import FollowerMetrics
from stream.weights.versions import Lineage, NoSuchVersionError, version_at
from tests.stream.learn.fragile import fragile
from tests.stream.learning import (
    SPEC,
    TOPICS,
    all_versions,
    example,
    examples,
    forget,
    learn_all,
    learned_directly,
    learner,
    opened,
    polls,
    records,
)
from tests.stream.weights.test_follow import Service


def from_the_log(log: Log, folder: Path, number: int) -> Checkpoint:
    """Rebuild a version without any checkpoint."""
    return rebuild(log, TOPICS, SPEC, Checkpoints(folder / "nothing here", 3), number)


def back(log: Log, folder: Path, to: int, *, replay: bool = False) -> Version:
    """Roll back."""
    settings = LearnSettings(directory=str(folder / "checkpoints"))
    return roll_back(log, TOPICS, SPEC, settings, to, replay=replay)


def mixed(count: int, first: int = 0) -> list[Message]:
    """Make up examples, of which every fifth can't be decoded."""
    return [example(number, label="maybe" if number % 5 == 0 else 0) for number in range(first, first + count)]


def learn_in_steps(log: Log, folder: Path, count: int = 100) -> list[Version]:
    """Learn ``count`` examples in versions of ten; return the versions."""
    log.append(examples(count))
    learn_all(fragile(log, lambda: 10), folder)
    return all_versions(log)


@pytest.mark.parametrize("partitions", [1, 3])
def test_ten_random_moments_are_rebuilt_with_the_digests_published_then(partitions: int, tmp_path: Path) -> None:
    chance = random.Random(partitions)
    with opened(tmp_path, partitions) as log:
        for first in range(0, 400, 100):
            log.append(examples(100, first))
            learn_all(fragile(log, lambda: chance.choice([3, 10, 25])), tmp_path)
        back(log, tmp_path, chance.choice(all_versions(log)).version, replay=True)
        learn_all(fragile(log, lambda: 20), tmp_path)

        for version in chance.sample(all_versions(log), 10):
            assert from_the_log(log, tmp_path, version.version).version.digest == version.digest


def test_a_rebuilt_state_is_that_of_the_learner_to_the_last_bit(log: Log, tmp_path: Path) -> None:
    learn_in_steps(log, tmp_path)
    saved = next(Checkpoints(tmp_path / "checkpoints", 3).newest_first())

    again = from_the_log(log, tmp_path, saved.version.version)

    assert (again.version, again.offset, again.spec) == (saved.version, saved.offset, saved.spec)
    assert {name: array.tobytes() for name, array in again.arrays.items()} == {
        name: array.tobytes() for name, array in saved.arrays.items()
    }


def test_a_version_is_found_by_its_number_and_by_a_time(log: Log, tmp_path: Path) -> None:
    versions = learn_in_steps(log, tmp_path)
    last = datetime.fromtimestamp(versions[-1].published_at / 1000, UTC)

    assert version_at(log, TOPICS, "4") == 4
    assert version_at(log, TOPICS, last.isoformat()) == version_at(log, TOPICS, "9999-01-01") == versions[-1].version
    for moment in ("4000", "2001-01-01T00:00:00", "yesterday"):
        with pytest.raises(NoSuchVersionError):
            version_at(log, TOPICS, moment)


def test_what_a_rollback_left_behind_counts_no_more() -> None:
    lineage = Lineage.after([(4, 2), (9, 3), (12, 10)])

    assert [version for version in range(14) if lineage.holds(version)] == [0, 1, 2, 3, 9, 10, 12, 13]


def test_a_rollback_is_the_next_version_with_the_weights_of_the_past_one(log: Log, tmp_path: Path) -> None:
    versions = learn_in_steps(log, tmp_path)

    published = back(log, tmp_path, 4)

    assert (published.version, published.digest, published.examples) == (versions[-1].version + 1, versions[4].digest, 40)
    assert published.rollback == Rollback(4, replay=False)
    assert published.runs == []
    assert published.offsets == versions[-1].offsets
    assert published == all_versions(log)[-1]


def test_the_record_of_a_rollback_names_who_asked_and_older_records_name_nobody(log: Log, tmp_path: Path) -> None:
    learn_in_steps(log, tmp_path)
    settings = LearnSettings(directory=str(tmp_path / "checkpoints"))

    roll_back(log, TOPICS, SPEC, settings, 4, replay=False, by="cli:ada")

    rollback = all_versions(log)[-1].rollback
    assert rollback == Rollback(4, replay=False, by="cli:ada")
    old = encode(all_versions(log)[-1]).replace(b',"by":"cli:ada"', b"")
    assert decode_version(old).rollback == Rollback(4, replay=False)


def test_learning_goes_on_behind_what_was_learned(log: Log, tmp_path: Path) -> None:
    learn_in_steps(log, tmp_path)
    back(log, tmp_path, 4)
    log.append(examples(50, 100))

    last = learn_all(log, tmp_path)

    stream = records(log, TOPICS.examples)
    assert last.examples == 90
    assert last.digest == learned_directly(stream[:40] + stream[100:])
    assert learn_all(log, tmp_path / "elsewhere") == last  # from the log alone


def test_a_replay_learns_again_what_came_after(log: Log, tmp_path: Path) -> None:
    learned = learn_in_steps(log, tmp_path)[-1]
    back(log, tmp_path, 4, replay=True)
    log.append(examples(50, 100))

    last = learn_all(log, tmp_path)

    assert last.examples == 150
    assert last.digest == learned_directly(records(log, TOPICS.examples))
    assert from_the_log(log, tmp_path, learned.version).version.digest == learned.digest
    assert learn_all(log, tmp_path / "elsewhere") == last


def test_what_a_replay_cannot_read_again_is_not_set_aside_again(log: Log, tmp_path: Path) -> None:
    log.append(mixed(100))
    learn_all(fragile(log, lambda: 10), tmp_path)
    back(log, tmp_path, 2, replay=True)
    learner(fragile(log, lambda: 10), tmp_path).run(polls(4))  # stopped during the replay; it goes on elsewhere
    learn_all(log, tmp_path / "elsewhere")
    log.append(mixed(20, 100))

    last = learn_all(log, tmp_path / "elsewhere")

    assert [(letter.offset, letter.stage) for letter in dead_letters(log, TOPICS)] == [(offset, "learn") for offset in range(0, 120, 5)]
    assert last.reread == {}


def test_a_replay_ended_by_another_rollback_sets_nothing_aside_twice(log: Log, tmp_path: Path) -> None:
    log.append(mixed(100))
    learn_all(fragile(log, lambda: 10), tmp_path)
    back(log, tmp_path, 2, replay=True)
    learner(fragile(log, lambda: 10), tmp_path).run(polls(4))  # stopped during the replay
    newest = all_versions(log)[-1].version
    for replay in (False, True):
        back(log, tmp_path, newest, replay=replay)

    last = learn_all(log, tmp_path)

    assert last.offsets == {0: 100}
    assert [letter.offset for letter in dead_letters(log, TOPICS)] == list(range(0, 100, 5))


def test_a_replay_past_any_number_of_dead_letters_is_a_small_version(log: Log, tmp_path: Path) -> None:
    """It records up to which offset examples are read again; the dead letters record which of them were set aside."""
    log.append([Message(TOPICS.examples, None, b"junk")] * 2000)
    learn_all(log, tmp_path)

    published = back(log, tmp_path, 0, replay=True)

    assert published.reread == {0: 2000}
    assert len(encode(published)) < 2000


def test_a_rollback_may_go_back_to_what_another_has_left_behind(log: Log, tmp_path: Path) -> None:
    versions = learn_in_steps(log, tmp_path)
    back(log, tmp_path, 4)

    again = back(log, tmp_path, 8)

    assert again.digest == versions[8].digest
    assert learn_all(log, tmp_path / "elsewhere") == again


@pytest.mark.parametrize("replay", [False, True])
def test_a_learner_at_work_goes_on_from_the_rollback_and_a_server_follows(replay: bool, log: Log, tmp_path: Path) -> None:
    log.append(examples(50))
    at_work, stop = learner(log, tmp_path), threading.Event()
    service = Service()
    follower = Follower(log, TOPICS, service, FollowerMetrics(CollectorRegistry()))
    threads = [threading.Thread(target=part.run, args=(stop.is_set,), daemon=True) for part in (at_work, follower)]
    for thread in threads:
        thread.start()
    while not all_versions(log) or all_versions(log)[-1].examples < 50:
        pass

    published = back(log, tmp_path, 0, replay=replay)
    service.wait_for(published.version)
    log.append(examples(50, 50))
    expected = 100 if replay else 50
    while all_versions(log)[-1].examples < expected:
        pass
    last = all_versions(log)[-1]
    service.wait_for(last.version)
    stop.set()
    for thread in threads:
        thread.join()

    assert last.digest == learned_directly(records(log, TOPICS.examples)[-expected:])
    assert service.taken[-1].digest == last.digest


@pytest.mark.parametrize("replay", [False, True])
def test_a_learner_in_mid_stream_is_not_ended_by_a_rollback(replay: bool, log: Log, tmp_path: Path) -> None:
    log.append(examples(100))
    rolled_back: list[Version] = []

    def interfere() -> None:
        if not rolled_back and len(all_versions(log)) == 6:
            rolled_back.append(back(log, tmp_path, 2, replay=replay))

    last = learn_all(fragile(log, lambda: 10, before_commit=interfere), tmp_path)

    stream = records(log, TOPICS.examples)
    assert rolled_back[0].version == 6
    assert last.digest == learned_directly(stream if replay else stream[:20] + stream[50:])


def test_a_rival_after_a_rollback_ends_the_first_learner(log: Log, tmp_path: Path) -> None:
    log.append(examples(20))
    learn_all(log, tmp_path)
    log.append(examples(20, 20))

    def interfere() -> None:
        back(log, tmp_path, 0, replay=True)
        learn_all(log, tmp_path)

    first = learner(fragile(log, before_commit=interfere), tmp_path)
    with pytest.raises(FencedError):
        first.run(lambda: False, until_caught_up=True)

    assert learn_all(log, tmp_path).examples == 40


def test_a_rollback_to_what_can_not_be_rebuilt_changes_nothing(log: Log, tmp_path: Path) -> None:
    learn_in_steps(log, tmp_path)
    forget(tmp_path, TOPICS.examples, 0, 15)
    before = all_versions(log)

    with pytest.raises(GapError):
        back(log, tmp_path, 4)
    with pytest.raises(RecoveryError, match="no version 4000"):
        back(log, tmp_path, 4000)

    assert all_versions(log) == before


def test_a_rollback_lost_from_the_disk_is_found_in_the_log(log: Log, tmp_path: Path) -> None:
    versions = learn_in_steps(log, tmp_path)
    published = back(log, tmp_path, 4)
    for path in (tmp_path / "checkpoints").iterdir():
        path.unlink()

    assert learn_all(log, tmp_path) == published
    assert learn_all(log, tmp_path).digest == versions[4].digest
