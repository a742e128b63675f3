"""Every example counts once, for the unit and the arm that it says, and what does not count is counted as left out."""

import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from experiments.comparison import Arm
from experiments.moments import INDEX, total
from model.encoding.keys import key_of
from stream.experiment.plan import ExperimentError
from stream.experiment.sums import Sums
from stream.log.contract import Log, Message
from stream.log.sqlite.log import SqliteLog
from stream.log.sqlite.retention import SHIFT
from stream.log.topics import create
from stream.records.events import Example, Forget, encode
from stream.records.version import Version
from tests.helpers.kafka_server import ROOT
from tests.stream.experiment.experiments import ARMS, BEGINS, PLAN, TOPICS, USER, append, arm_of, before, count_all, shown, traffic, unit_of


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with SqliteLog(f"sqlite:///{tmp_path}/log.db") as opened:
        create(opened, TOPICS, 2)
        yield opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "exp.db"


def sums_of(arms: dict[str, Arm], *columns: str) -> dict[str, tuple[float, ...]]:
    return {name: tuple(total(arm.moments, column) for column in columns) for name, arm in arms.items()}


def counted(log: Log, path: Path, *columns: str, **options: bool) -> dict[str, tuple[float, ...]]:
    sums = count_all(log, path, **options)  # type: ignore[arg-type]
    try:
        return sums_of(sums.arms(ARMS), *columns)
    finally:
        sums.close()


def test_the_sums_are_those_of_the_examples_added_up_longhand(log: Log, path: Path) -> None:
    examples = traffic(500)
    append(log, examples, partitions=2)

    sums = count_all(log, path)

    for name, arm in sums.arms(ARMS).items():
        during = [each for each in examples if each.served and arm_of(str(each.served.unit)) == name]
        units = {each.served.unit for each in during if each.served}
        early = [each for each in examples if not each.served and unit_of(str(each.features["user_id"])) in units]
        p = np.array([each.served.probability for each in during if each.served])
        clicked = np.array([each.label for each in during])
        loss = -np.log(np.where(clicked, p, 1 - p).astype(float))
        value = np.array([each.value or 0.0 for each in during])
        expected = {
            "units": len(units),
            "impressions": len(during),
            "clicks": clicked.sum(),
            "value": value.sum(),
            "value_squares": (value**2).sum(),
            "loss": loss.sum(),
            "loss_squares": (loss**2).sum(),
            "prediction": p.sum(),
            "impressions_before": len(early),
            "clicks_before": sum(each.label for each in early),
            "known": len({each.features["user_id"] for each in early}),
        }
        assert {column: total(arm.moments, column) for column in expected} == pytest.approx(expected)
        by_unit = [sum(each.label for each in during if each.served and each.served.unit == unit) for unit in units]
        assert arm.moments[INDEX["clicks"], INDEX["clicks"]] == sum(clicks**2 for clicks in by_unit)
        assert arm.bins[0].sum(axis=0).tolist() == [len(during) - clicked.sum(), clicked.sum()]
    sums.close()


def test_the_order_of_partitions_and_the_cut_of_batches_change_nothing(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(log, traffic(300), partitions=2)
    whole = count_all(log, tmp_path / "whole.db")
    monkeypatch.setattr("stream.experiment.reporter.BATCH", 7)

    cut = count_all(log, tmp_path / "cut.db")

    for one, other in zip(whole.arms(ARMS).values(), cut.arms(ARMS).values(), strict=True):
        assert np.allclose(one.moments, other.moments, rtol=1e-12)
        assert (one.bins == other.bins).all()
    whole.close()
    cut.close()


def test_without_waiting_a_click_that_comes_later_leaves_what_it_would_have_left_at_once(log: Log, path: Path, tmp_path: Path) -> None:
    user = next(f"u{n}" for n in range(99) if arm_of(unit_of(f"u{n}")) == "treatment")
    append(log, [shown(1, user), shown(2, user), shown(1, user, clicked=True, value=2.0)])
    later = count_all(log, path, at_once=True)

    with SqliteLog(f"sqlite:///{tmp_path}/two.db") as two:
        create(two, TOPICS, 1)
        append(two, [shown(1, user, clicked=True, value=2.0), shown(2, user)])
        at_once = count_all(two, tmp_path / "at_once.db")

    assert np.allclose(later.arms(ARMS)["treatment"].moments, at_once.arms(ARMS)["treatment"].moments)
    assert (later.arms(ARMS)["treatment"].bins == at_once.arms(ARMS)["treatment"].bins).all()
    later.close()
    at_once.close()


def test_what_does_not_count_is_left_out_and_counted(log: Log, path: Path) -> None:
    mine, late = arm_of(unit_of("u1")), Example("l", BEGINS, {}, 1, late=True, served=shown(1, "u1").served)
    other = ARMS[1 - ARMS.index(mine)]
    append(
        log,
        [
            shown(1, "u1", forced=True),
            shown(2, "u1", unit=None),
            shown(3, "u1", unit="not a key"),
            shown(4, "u1", arm="third"),
            shown(5, "u1", arm=other),
            shown(6, "u1", probability=None),
            shown(7, "u1", experiment="another"),
            late,
            shown(8, "u1", arm=other, assigned=mine),
        ],
    )

    sums = count_all(log, path)

    counts = sums.counts()
    assert counts == {
        mine: {"forced": 1, "without_unit": 2, "without_prediction": 1, "stood_in": 1},
        other: {"in_wrong_arm": 1},
        "": {"of_another_arm": 1},
    }
    assert sums_of(sums.arms(ARMS), "impressions")[mine] == (1,)
    sums.close()


def test_an_impression_for_which_control_stood_in_counts_for_the_arm_that_it_was_meant_for(log: Log, path: Path) -> None:
    user = next(f"u{n}" for n in range(99) if arm_of(unit_of(f"u{n}")) == "treatment")
    append(log, [shown(1, user, arm="control", assigned="treatment", propensity=1.0)])

    assert counted(log, path, "impressions") == {"control": (0,), "treatment": (1,)}


def test_rubbish_among_the_examples_is_passed_over(log: Log, path: Path) -> None:
    append(log, [shown(1, "u1")])
    log.append([Message(TOPICS.examples, None, value, partition=0) for value in (b"\xff", None, b"{}", b'{"forget": 5}')])
    append(log, [shown(2, "u1")])

    assert counted(log, path, "impressions")[arm_of(unit_of("u1"))] == (2,)


def test_a_forgotten_persons_unit_goes_and_what_was_shown_before_the_request_never_comes_back(log: Log, path: Path) -> None:
    append(log, [before(1, "u1"), shown(1, "u1"), shown(2, "u2")])
    log.append([Message(TOPICS.examples, None, encode(Forget.of(key_of(USER, "u1"), BEGINS + 10_000)), partition=0)])
    append(log, [shown(3, "u1"), before(2, "u1"), shown(11, "u1", clicked=True)])

    sums = count_all(log, path)

    arm = sums.arms(ARMS)[arm_of(unit_of("u1"))].moments
    apart = arm_of(unit_of("u1")) != arm_of(unit_of("u2"))
    assert total(arm, "impressions") == (1 if apart else 2)
    assert total(arm, "clicks") == 1
    assert total(arm, "impressions_before") == 0
    sums.close()
    again = Sums(path)
    assert again.forgotten == {key_of(USER, "u1"): BEGINS + 10_000}
    again.close()


def delete_examples(folder: Path, before: int) -> None:
    """Delete the first examples of partition 0, as retention does."""
    with closing(sqlite3.connect(folder / "log.db")) as file, file:
        (number,) = file.execute("SELECT number FROM partitions WHERE topic = ? AND partition = 0", (TOPICS.examples,)).fetchone()
        file.execute("DELETE FROM records WHERE place >= ? AND place < ?", (number << SHIFT, (number << SHIFT) + before))
        file.execute("UPDATE partitions SET first = ? WHERE number = ?", (before, number))


def test_what_was_deleted_before_it_was_counted_is_counted_as_missing(log: Log, path: Path, tmp_path: Path) -> None:
    append(log, [shown(n, "u1") for n in range(3)])
    count_all(log, path).close()
    append(log, [shown(n, "u1") for n in range(3, 10)])
    delete_examples(tmp_path, 5)

    sums = count_all(log, path)

    assert sums.counts()[""] == {"deleted": 2}
    assert sums_of(sums.arms(ARMS), "impressions")[arm_of(unit_of("u1"))] == (8,)
    sums.close()


def test_sums_of_another_log_are_refused(log: Log, path: Path, tmp_path: Path) -> None:
    append(log, [shown(1, "u1")])
    count_all(log, path).close()
    with SqliteLog(f"sqlite:///{tmp_path}/another.db") as another:
        create(another, TOPICS, 2)

        with pytest.raises(ExperimentError, match=r"partition 0 were counted up to 1, but sml.examples ends at 0: it is another log"):
            count_all(another, path)


def test_another_process_that_has_the_sums_is_named_as_the_reason(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.experiment.sums.PATIENCE", 0.1)
    first = Sums(path)

    with pytest.raises(
        ExperimentError, match=r"exp.db: expected the sums of an experiment that no other process reads, got: database is locked"
    ):
        Sums(path)

    first.close()


def test_when_the_shares_change_counting_begins_again_and_behaviour_before_stays(log: Log, path: Path) -> None:
    append(log, [before(1, "u1", clicked=True), shown(1, "u1"), shown(2, "u1")])
    count_all(log, path).close()
    append(log, [shown(3, "u1"), shown(20, "u1", clicked=True)])

    sums = count_all(log, path, PLAN._replace(since=BEGINS + 10_000))

    arm = arm_of(unit_of("u1"))
    columns = ("impressions", "clicks", "impressions_before", "clicks_before")
    assert sums_of(sums.arms(ARMS), *columns)[arm] == (1, 1, 1, 1)
    assert sums.arms(ARMS)[arm].bins[0].sum() == 1
    assert sums.counts()[arm] == {"at_other_shares": 1}
    sums.close()


def test_after_the_end_of_an_experiment_and_the_retention_only_sums_over_units_are_kept(log: Log, path: Path) -> None:
    append(log, traffic(200))
    during = count_all(log, path)
    kept = during.arms(ARMS)
    during.close()
    append(log, [shown(10_000, "u1")])

    sums = count_all(log, path, PLAN._replace(until=BEGINS + 9_000_000), retention=1.0)

    assert sums._file.execute("SELECT count(*) FROM units").fetchone() == (0,)
    for one, other in zip(kept.values(), sums.arms(ARMS).values(), strict=True):
        assert np.allclose(one.moments, other.moments)
    sums.close()


def test_the_age_of_the_weights_is_that_of_the_version_that_each_impression_names(log: Log, path: Path) -> None:
    published = [Version(n, "d", 0, None, {}, [], [], "s", "f", BEGINS + 500 * n) for n in range(4)]
    log.append([Message(TOPICS.versions, None, value) for value in (b"rubbish", *map(encode, published))])
    append(log, [shown(10, "u1", version=1), shown(10, "u1", version=3), shown(10, "u1", version=9)])
    arm = arm_of(unit_of("u1"))

    sums = count_all(log, path, PLAN._replace(versions={arm: TOPICS.versions}))

    assert sums.counts()[arm] == {"age_ms": 9_500 + 8_500, "aged": 2}
    assert sums.state(f"versions of {arm}", 0) == 5
    sums.close()


def test_a_counter_that_is_killed_at_any_moment_ends_with_the_numbers_of_one_that_was_not(log: Log, tmp_path: Path) -> None:
    examples = traffic(400)
    append(log, examples[:500], partitions=2)
    log.append([Message(TOPICS.examples, None, encode(Forget.of(key_of(USER, "u1"), BEGINS + 450_000)), partition=0)])
    append(log, examples[500:], partitions=2)
    whole = count_all(log, tmp_path / "whole.db")
    command = [sys.executable, "-m", "tests.stream.experiment.counter", f"sqlite:///{tmp_path}/log.db", str(tmp_path / "killed.db")]
    chance, kills = random.Random(1), 0

    while True:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
        assert process.stdout
        for _ in range(chance.randint(1, 3)):
            process.stdout.readline()
        time.sleep(chance.random() / 50)
        process.kill()
        if process.communicate()[0].endswith(b"done\n"):
            break
        kills += 1

    again = Sums(tmp_path / "killed.db")
    assert kills >= 2
    assert again.progress() == whole.progress()
    assert again.counts() == whole.counts()
    for one, other in zip(whole.arms(ARMS).values(), again.arms(ARMS).values(), strict=True):
        assert np.allclose(one.moments, other.moments, rtol=1e-12)
        assert (one.bins == other.bins).all()
    whole.close()
    again.close()
