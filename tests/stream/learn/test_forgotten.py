"""A forgotten value is as one that never occurred, and nothing from before the request is learned any more."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from prometheus_client import CollectorRegistry

from model.encoding.keys import FeatureError, Value, key_of
from model.evaluation.scores import RunningScores
from model.online import OnlineModel
from model.settings import Field
from stream.dead_letters import dead_letters
from stream.learn.forgotten import KEPT, LATEST, Forgotten
from stream.learn.trainer import Trainer
from stream.log.contract import Log, Message
from stream.records.events import Forget, encode
from tests.stream.learn.forgetting import UNTIL, USER, WHO, as_records, by, holds, request, trained
from tests.stream.learning import SPEC, TOPICS, example, examples, learner

# The model


def test_a_forgotten_value_is_predicted_as_one_that_never_occurred() -> None:
    trainer = trained([*examples(200), *by(WHO, 20)])
    shown = [{"user": user, "item": 3, "price": 1.0} for user in (WHO, "nobody")]
    features, _ = trainer.preparer.encoder.encode(shown, [2_000_000] * 2)
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
    prepared = None
    for start, end in pairwise(edges):  # each part is prepared before the one before it is learned
        before, prepared = prepared, parts.preparer.prepare(stream[start:end])
        if before:
            parts.learn_prepared(before)
    if prepared:
        parts.learn_prepared(prepared)
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
