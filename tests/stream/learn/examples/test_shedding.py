"""While learning falls behind it learns fewer negatives, within its bound; what was left out is written down, so all can be made again."""

import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from prometheus_client import CollectorRegistry

from model.evaluation.scores import RunningScores
from model.online import OnlineModel
from stream.dead_letters import dead_letters
from stream.learn import session as session_module
from stream.learn.examples import shedding, source as example_source
from stream.learn.examples.shedding import Shedding
from stream.learn.examples.source import ExampleSource
from stream.learn.metrics import Lag
from stream.learn.order import give_order
from stream.learn.restore.rollback import rebuild, roll_back
from stream.learn.saving.checkpoint import Checkpoints
from stream.learn.trainer import Trainer
from stream.log.contract import Log, Record
from stream.records.version import Version
from stream.sampling import LEAST, NO_SALT, Sampling
from stream.settings import LearnSettings
from tests.stream.learn.fragile import Killed, deadly, fragile
from tests.stream.learning import (
    SPEC,
    TOPICS,
    all_versions,
    assert_each_example_was_read_once,
    example,
    examples,
    learn_all,
    learner,
    opened,
    records,
)


@pytest.fixture
def lags(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], float]], None]:
    """Return what lets a learner decide after each step, by the lags that a function returns."""

    def use(lag: Callable[[], float]) -> None:
        monkeypatch.setattr(shedding, "DECISIONS", 1e9)
        monkeypatch.setattr(ExampleSource, "lag", lambda _: Lag(10_000, lag()))

    return use


def as_learned(record: Record, sampling: Sampling | None) -> Record | None:
    """Return a record with the weight that it was learned with, None if it was left out: the definition, longhand."""
    event = json.loads(record.value or b"")
    if sampling is None or event["label"] == 1:
        return record
    digest = sha256(f"{sampling.salt} {event['time']} {event['impression_id']}".encode()).digest()
    if int.from_bytes(digest[:8]) >= sampling.rate * 2**64:
        return None
    return record._replace(value=json.dumps(event | {"weight": event.get("weight", 1) / sampling.rate}).encode())


def assert_the_weights_are_those_of_what_the_versions_say(log: Log) -> None:
    """Learn what each version says that it learned, with a trainer that knows of no sampling."""
    stream = {p: {record.offset: record for record in records(log, TOPICS.examples, p)} for p in log.bounds(TOPICS.examples)}
    trainer = Trainer(OnlineModel(SPEC), RunningScores())
    for version in all_versions(log):
        read = [stream[run.partition][offset] for run in version.runs for offset in range(run.first, run.last + 1)]
        learned = [each for each in (as_learned(record, version.sampling) for record in read) if each]
        assert version.left_out == len(read) - len(learned)
        trainer.learn(learned)
        assert trainer.model.digest() == version.digest, version.version


def rates(versions: list[Version]) -> list[float]:
    """Return the rate of each version that learned anything."""
    return [version.sampling.rate if version.sampling else 1.0 for version in versions if version.runs]


# The bound


@given(
    max_lag=st.floats(1, 600),
    clicks=st.floats(0, 0.15),
    reading=st.floats(0.01, 0.12),
    load=st.floats(0.1, 3),
    keep=st.sampled_from([1.0, 0.3, 0.1]),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=25, deadline=None)
def test_at_up_to_three_times_its_speed_learning_stays_within_the_bound_and_ends_with_all_negatives(
    max_lag: float, clicks: float, reading: float, load: float, keep: float, seed: int
) -> None:
    """A learner of which each example takes a time, and each that is left out the share ``reading`` of it; with a polling learner's noise."""
    sheds, chance = Shedding(LearnSettings(max_lag=max_lag, keep_negatives=keep), None), random.Random(seed)
    step, read, most = max_lag / 200, 0.0, 0.0
    for now in (n * step for n in range(8_000)):
        load_now = load if now < 20 * max_lag else 0.5 * keep
        rate = sheds.sampling.rate if sheds.sampling else 1.0
        cost = clicks + (1 - clicks) * (rate + (1 - rate) * reading)  # of an example, where one that is learned takes 1
        read = min(now, read + step / (cost * load_now) * chance.uniform(0.9, 1.1))
        most = max(most, now - read)
        if sheds.due(now):
            sheds.decide(now - read, now)

    assert most <= max_lag
    assert (sheds.sampling.rate if sheds.sampling else 1.0) == keep


def test_a_learner_that_is_not_behind_learns_all_and_one_far_behind_fewer_and_fewer_but_never_none() -> None:
    sheds = Shedding(LearnSettings(max_lag=16), None)

    for second in range(5):
        sheds.decide(4, second)
    assert sheds.sampling is None
    for second in range(5, 25):
        sheds.decide(17, second)
    assert sheds.sampling
    assert sheds.sampling.rate == LEAST


def test_without_max_lag_nothing_is_decided() -> None:
    assert not Shedding(LearnSettings(), None).due(1e12)
    assert Shedding(LearnSettings(keep_negatives=0.5), Sampling(0.1, NO_SALT)).sampling == Sampling(0.5, NO_SALT)


# What is left out


def test_a_learner_that_is_behind_leaves_out_negatives_and_each_version_says_which(log: Log, tmp_path: Path) -> None:
    """By real clocks: the examples were written before the bound."""
    log.append(examples(1_500))
    time.sleep(1.1)
    registry = CollectorRegistry()

    learner(log, tmp_path, registry=registry, max_lag=1).run(lambda: False, until_caught_up=True)

    versions = all_versions(log)
    learned, left_out = versions[-1].examples, sum(version.left_out for version in versions)
    assert left_out > 0
    assert learned + left_out == 1_500
    assert_each_example_was_read_once(log)
    assert_the_weights_are_those_of_what_the_versions_say(log)
    assert registry.get_sample_value("sml_learner_left_out_examples_total") == left_out
    assert registry.get_sample_value("sml_learner_kept_negatives_ratio", {"of": "now"}) == rates(versions)[-1] < 1
    assert registry.get_sample_value("sml_learner_kept_negatives_ratio", {"of": "settings"}) == 1


def test_a_clock_that_is_ahead_sheds_nothing_while_less_than_a_batch_waits(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example_source, "time", SimpleNamespace(time=lambda: time.time() + 3_600))
    log.append(examples(1_000))

    learner(fragile(log, cut=lambda: 500), tmp_path, max_lag=1).run(lambda: False, until_caught_up=True)

    assert {version.left_out for version in all_versions(log)} == {0}


@given(seed=st.integers(0, 2**32))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_weights_under_a_fixed_rate_do_not_depend_on_how_polls_cut_the_stream(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, cuts = tmp_path_factory.mktemp("cut"), random.Random(seed)
    with opened(folder) as log:
        log.append([example(number, **({"weight": 3.0} if number % 3 else {})) for number in range(200)])

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(session_module, "_BATCH", 7)
            last = learn_all(fragile(log, cut=lambda: cuts.choice([1, 2, 7, 50])), folder, keep_negatives=0.4)

        assert last.sampling
        assert len({version.sampling for version in all_versions(log)}) == 1
        assert_the_weights_are_those_of_what_the_versions_say(log)


def test_a_bad_click_and_a_bad_record_are_set_aside_and_a_left_out_negative_is_not_looked_at(log: Log, tmp_path: Path) -> None:
    bad = {"features": {"price": "much"}}
    log.append([example(1, label=1, **bad), example(2, label=7), *(example(number, label=0, **bad) for number in range(3, 103))])

    learn_all(log, tmp_path, keep_negatives=0.1)

    assert 2 < len(list(dead_letters(log, TOPICS))) < 40
    assert sum(version.left_out for version in all_versions(log)) + len(list(dead_letters(log, TOPICS))) == 102


# What happens to the learner


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("seed", range(2))
def test_a_learner_killed_while_its_rate_changes_ends_with_the_weights_that_its_versions_say(
    partitions: int, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lags: Callable[[Callable[[], float]], None]
) -> None:
    monkeypatch.setattr(session_module, "_BATCH", 5)
    chance = random.Random(seed)
    lags(lambda: chance.choice([0, 0, 0, 2]))

    with opened(tmp_path, partitions) as log:
        log.append(examples(400))
        breaking = deadly(log, chance)
        kills = 0
        while not all_versions(log) or sum(all_versions(log)[-1].offsets.values()) < 400:
            try:
                learn_all(breaking, tmp_path, max_lag=1, checkpoint_every=chance.choice([0.0, 0.05, 1.0]), snapshot_every=0.0)
            except Killed:
                kills += 1

        assert kills > 5
        assert len(set(rates(all_versions(log)))) > 2
        assert_each_example_was_read_once(log)
        assert_the_weights_are_those_of_what_the_versions_say(log)
        assert learn_all(log, tmp_path / "without checkpoints").digest == all_versions(log)[-1].digest


def test_a_learner_process_killed_at_any_moment_leaves_out_what_its_versions_say(tmp_path: Path) -> None:
    chance, numbers = random.Random(0), itertools.count()
    program = (
        "import sys, pathlib, random; from stream.learn.examples import shedding, source; import tests.stream.learning as learning;"
        "shedding.DECISIONS = 1e9; source.ExampleSource.lag = lambda self: source.Lag(10_000, random.choice([0, 2]));"
        "learning.learn_for_ever(pathlib.Path(sys.argv[1]), max_lag=1)"
    )

    with opened(tmp_path, 3) as log:
        for _ in range(2):
            until = log.bounds(TOPICS.versions)[0].end + chance.randint(8, 30)
            with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)]) as process:
                while log.bounds(TOPICS.versions)[0].end < until and process.poll() is None:
                    log.append([example(next(numbers)) for _ in range(20)])
                    time.sleep(0.02)
                process.kill()
        learn_all(log, tmp_path)

        assert any(version.left_out for version in all_versions(log))
        assert_each_example_was_read_once(log)
        assert_the_weights_are_those_of_what_the_versions_say(log)


def test_a_restart_goes_on_with_the_rate_and_the_salt_of_the_last_version(log: Log, tmp_path: Path) -> None:
    log.append(examples(100))
    first = learn_all(log, tmp_path, keep_negatives=0.25)
    log.append(examples(100, first=100))

    second = learn_all(log, tmp_path, keep_negatives=0.5, max_lag=60)

    assert first.sampling
    assert second.sampling == first.sampling
    assert learn_all(log, tmp_path, keep_negatives=0.5).sampling == first.sampling  # nothing is learned by it
    log.append(examples(100, first=200))
    assert learn_all(log, tmp_path, keep_negatives=0.5).sampling == Sampling(0.5, first.sampling.salt)
    log.append(examples(100, first=300))
    last = learn_all(log, tmp_path)
    assert (last.sampling, last.left_out) == (None, 0)
    assert_the_weights_are_those_of_what_the_versions_say(log)


def test_any_moment_is_rebuilt_and_gone_back_to_whatever_the_rate_was(
    log: Log, tmp_path: Path, lags: Callable[[Callable[[], float]], None]
) -> None:
    chance = random.Random(1)
    lags(lambda: chance.choice([0, 0, 2]))
    for first in range(0, 300, 100):
        log.append(examples(100, first))
        learn_all(fragile(log, lambda: 10), tmp_path, max_lag=1)
    before = all_versions(log)
    full = next(version for version in before if version.runs and not version.sampling)

    roll_back(log, TOPICS, SPEC, LearnSettings(directory=str(tmp_path / "checkpoints")), full.version, replay=True)
    back = all_versions(log)[-1]
    last = learn_all(fragile(log, lambda: 10), tmp_path, max_lag=1)

    assert (back.digest, back.sampling, back.left_out) == (full.digest, before[-1].sampling, 0)
    assert sum(last.offsets.values()) == 300
    for version in chance.sample(all_versions(log), 8):
        rebuilt = rebuild(log, TOPICS, SPEC, Checkpoints(tmp_path / "nothing here", 3), version.version)
        assert rebuilt.version.digest == version.digest


def test_a_persons_order_changes_no_sampling(log: Log, tmp_path: Path) -> None:
    log.append(examples(50))
    last = learn_all(log, tmp_path, keep_negatives=0.5)

    order = give_order(log, TOPICS, "hold", "me")

    assert (order.sampling, order.left_out) == (last.sampling, 0)
    assert last.left_out > 0
