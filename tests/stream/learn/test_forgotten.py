"""A forgotten value is gone from weights, checkpoints and servers, and stays gone whatever is killed, learned again or rolled back."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from prometheus_client import CollectorRegistry

from model.evaluation import RunningScores
from model.keys import FeatureError, Value, key_of
from model.online import OnlineModel
from model.settings import Field
from model.weights import Weights
from stream.dead_letters import dead_letters
from stream.events import Forget, encode
from stream.learn.checkpoint import Checkpoints
from stream.learn.forgotten import KEPT, LATEST, Forgotten
from stream.learn.recovery import Recovery
from stream.learn.rollback import rebuild, roll_back
from stream.learn.trainer import Trainer
from stream.log.contract import Log, Message, Record
from stream.settings import LearnSettings
from stream.weights.follow import Follower
from stream.weights.metrics import FollowerMetrics
from tests.stream.learn.fragile import fragile
from tests.stream.learning import SPEC, TOPICS, all_versions, example, examples, learn_all, learner, opened, polls, records
from tests.stream.weights.test_follow import Service

USER = SPEC.fields[0]
WHO = 17
UNTIL = 1_000_000 + 500  # after the first 500 examples


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with opened(tmp_path) as log:
        yield log


def request(value: Value = WHO, until: int = UNTIL) -> Message:
    return Message(TOPICS.examples, None, encode(Forget(f"{key_of(USER, value):016x}", until)), partition=0)


def by(who: int, count: int, first: int = 0) -> list[Message]:
    """Make up examples of one user."""
    return [example(n, features={"user": who, "item": n % 7, "price": 1.0}) for n in range(first, first + count)]


def holds(weights: Weights, value: Value = WHO) -> bool:
    return weights.has(key_of(USER, value))


def as_records(messages: Sequence[Message]) -> list[Record]:
    return [Record(m.topic, 0, n, 2_000_000, m.key, m.value) for n, m in enumerate(messages)]


def trained(messages: Sequence[Message]) -> Trainer:
    trainer = Trainer(OnlineModel(SPEC), RunningScores())
    trainer.learn(as_records(messages))
    return trainer


# The model


def test_a_forgotten_value_is_predicted_as_one_that_never_occurred() -> None:
    trainer = trained([*examples(200), *by(WHO, 20)])
    shown = [{"user": user, "item": 3, "price": 1.0} for user in (WHO, "nobody")]
    features, _ = trainer.encoder.encode(shown, [2_000_000] * 2)
    assert len(set(trainer.model.weights.predict(features).tolist())) == 2

    trainer.learn(as_records([request()]))

    assert len(set(trainer.model.weights.predict(features).tolist())) == 1
    assert not holds(trainer.model.weights)


def test_the_row_is_free_again_and_the_others_are_untouched() -> None:
    trainer = trained([*examples(200), *by(WHO, 20)])
    before = trainer.model.state()
    position = int(np.flatnonzero(trainer.model.weights.keys == np.uint64(key_of(USER, WHO)))[0])

    trainer.learn(as_records([request()]))

    after = trainer.model.state()
    kept = before["positions"] != position
    for name in ("positions", "keys", "rows", "row_sums", "used"):
        assert np.array_equal(before[name][kept], after[name])
    assert np.array_equal(before["dense"], after["dense"])
    assert after["counts"].tolist() == [before["counts"][0] - 1, before["counts"][1]]
    trainer.learn(as_records(by(WHO, 1, first=501)))
    assert int(np.flatnonzero(trainer.model.weights.keys == np.uint64(key_of(USER, WHO)))[0]) == position


@pytest.mark.parametrize("field", [Field(name="price", kind="numeric"), Field(name="h", kind="hour")])
def test_a_value_that_shares_its_row_with_others_can_not_be_forgotten(field: Field) -> None:
    with pytest.raises(FeatureError, match=r"values of kind .* share theirs"):
        key_of(field, 3)


@pytest.mark.parametrize("kind", ["categorical", "multi"])
@pytest.mark.parametrize("missing", ["", None])
def test_a_missing_value_can_not_be_forgotten(kind: str, missing: Value) -> None:
    with pytest.raises(FeatureError, match="not a missing one"):
        key_of(Field.model_validate({"name": "user", "kind": kind}), missing)


def test_a_value_of_a_list_is_forgotten_wherever_the_list_holds_it() -> None:
    field = Field(name="tags", kind="multi")
    spec = SPEC.model_copy(update={"fields": (field,)})
    trainer = Trainer(OnlineModel(spec), RunningScores())
    lists = [["a", "b"], ["b"], ["c"], ["c", "a"]]
    trainer.learn(as_records([example(n, features={"tags": tags}) for n, tags in enumerate(lists)]))
    forget = Message(TOPICS.examples, None, encode(Forget(f"{key_of(field, 'a'):016x}", UNTIL)))

    result = trainer.learn(as_records([forget, *[example(n, features={"tags": tags}) for n, tags in enumerate(lists)]]))

    assert [trainer.model.weights.has(key_of(field, tag)) for tag in "abc"] == [False, True, True]
    assert (result.learned, result.erased) == (2, 2)


# What comes after the request


def test_impressions_from_before_the_request_are_not_learned_any_more_and_later_ones_are() -> None:
    early, late = by(WHO, 30), by(WHO, 5, first=501)

    trainer = trained([*examples(100), request(), *early, *examples(50, first=100)])
    uninvolved = trained([*examples(100), request(), *examples(50, first=100)])

    assert trainer.model.digest() == uninvolved.model.digest()
    assert trainer.scores.total() == uninvolved.scores.total()
    trainer.learn(as_records(late))
    assert holds(trainer.model.weights)


def test_what_is_not_learned_is_counted_and_is_no_dead_letter(log: Log, tmp_path: Path) -> None:
    log.append([*examples(20), request(), *by(WHO, 7)])
    registry = CollectorRegistry()

    learner(log, tmp_path, registry=registry).run(lambda: False, until_caught_up=True)

    assert not list(dead_letters(log, TOPICS))
    assert registry.get_sample_value("sml_learner_erased_examples_total") == 7
    assert registry.get_sample_value("sml_learner_forgotten_total") == 1
    assert registry.get_sample_value("sml_learner_examples_total") == 20


MADE_UP = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 40), st.booleans()), min_size=1, max_size=60)


@given(made_up=MADE_UP, cuts=st.lists(st.integers(1, 60), max_size=6))
@settings(max_examples=60, deadline=None)
def test_however_the_stream_is_cut_the_weights_are_the_same_and_nobody_forgotten_is_left(
    made_up: list[tuple[int, int, bool]], cuts: list[int]
) -> None:
    messages = [
        request(who, 1_000_000 + time) if is_request else example(time, features={"user": who, "item": 1, "price": 1.0})
        for who, time, is_request in made_up
    ]
    whole, parts, longhand = (Trainer(OnlineModel(SPEC), RunningScores()) for _ in range(3))
    stream = as_records(messages)

    whole.learn(stream)
    edges = sorted({0, *[cut for cut in cuts if cut < len(stream)], len(stream)})
    for start, end in pairwise(edges):
        parts.learn(stream[start:end])
    until: dict[int, int] = {}  # longhand: one record at a time, by a dict
    for record, (who, time, is_request) in zip(stream, made_up, strict=True):
        if is_request:
            until[who] = max(time, until.get(who, 0))
            longhand.model.forget(key_of(USER, who))
        elif time > until.get(who, -1):
            longhand.learn([record])

    assert whole.model.digest() == parts.model.digest() == longhand.model.digest()
    last_learned = {who: n for n, (who, time, is_request) in enumerate(made_up) if not is_request}
    for who in until:
        last_request = max(n for n, (other, _, is_request) in enumerate(made_up) if is_request and other == who)
        if last_learned.get(who, -1) < last_request:
            assert not holds(whole.model.weights, who)


# Odd and hostile requests


@pytest.mark.parametrize(
    "odd",
    [
        {"forget": "17", "until": 5},
        {"forget": "g" * 16, "until": 5},
        {"forget": "a" * 16},
        {"forget": "a" * 16, "until": 2_000_001 + LATEST},
    ],
)
def test_a_request_that_can_not_be_right_is_set_aside(odd: dict[str, object]) -> None:
    trainer = trained(examples(50))
    digest = trainer.model.digest()

    result = trainer.learn(as_records([Message(TOPICS.examples, None, json.dumps(odd).encode())]))

    assert len(result.bad) == 1
    assert trainer.model.digest() == digest


def test_an_impression_with_a_feature_of_that_name_is_no_request() -> None:
    trainer = trained([example(1, features={"user": 1, "item": 2, "price": 3.0, "forget": "a" * 16})])

    assert trainer.model.examples == 1


def test_a_request_no_longer_holds_once_retention_has_deleted_what_came_before_it() -> None:
    forgotten = Forgotten({1: 5, 2: 6})

    forgotten.add(Forget(f"{3:016x}", 5 + KEPT))

    assert forgotten.state()["keys"].tolist() == [2, 3]


# Crashes, checkpoints, rollbacks


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
