"""Under the served protocol an example is predicted with what a server would have known, and the weights stay those of the usual one."""

from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from model.encoding.features import Encoder
from model.encoding.keys import Value
from model.evaluation.progressive import learn_and_score
from model.evaluation.scores import RunningScores, Scores
from model.evaluation.served import ServedStream
from model.kernels.forward import Shown
from model.online import OnlineModel
from model.settings import Field, ModelSettings, Spec, TableSettings

SPEC = Spec(
    model=ModelSettings(hidden=(8, 4), embedding=4, base_rate=True, records=True),
    table=TableSettings(capacity=256),
    fields=(Field(name="user"), Field(name="tags", kind="multi")),
    label_delay=4,
)
Row = tuple[dict[str, Value], int, object, float]  # features, time, page, label

rows = st.lists(
    st.tuples(
        st.fixed_dictionaries({"user": st.integers(0, 5), "tags": st.lists(st.sampled_from("abc"), max_size=3)}),
        st.sampled_from([0, 1, 2, 3, 10, 11, 12, 20, 21]),  # in any order
        st.sampled_from([None, "p", "q"]),
        st.sampled_from([0.0, 1.0]),
    ),
    min_size=1,
    max_size=24,
)


def served(
    stream: list[Row], delay: int, cuts: list[int], spec: Spec = SPEC, learned: list[bool] | None = None, weight: float = 1.0
) -> tuple[OnlineModel, Scores, int]:
    """Run the stream in batches that end at ``cuts``; return the model, its scores and how many examples no field took."""
    model, scores = OnlineModel(spec), RunningScores()
    encoder, run = Encoder(spec.fields), ServedStream(model, scores, delay, weight)
    bad = 0
    bounds = sorted({0, *(cut for cut in cuts if cut < len(stream)), len(stream)})
    for a, b in pairwise(bounds):
        features, times, pages, labels = zip(*stream[a:b], strict=True)
        encoded = encoder.encode(features, times)
        run.learn_and_score(encoded, times, np.array(labels, np.float32), pages, None if learned is None else np.array(learned[a:b]))
        bad += len(encoded.bad)
    run.finish()
    return model, scores.total(), bad


def longhand(stream: list[Row], delay: int, learned: list[bool] | None = None, weight: float = 1.0) -> tuple[OnlineModel, Scores]:
    """Predict each example by a copy of the model as it was when its page was shown, which has learned all that was decided then."""
    encoder = Encoder(SPEC.fields)
    examples = [(encoder.encode([features], [time]).features, np.array([label], np.float32)) for features, time, _, label in stream]
    clocks = [max(time for _, time, _, _ in stream[: n + 1]) for n in range(len(stream))]
    copies = [OnlineModel(SPEC)]  # copies[n] has learned n examples
    for n, (features, label) in enumerate(examples):
        copies.append(OnlineModel.from_state(SPEC, copies[-1].state()))
        if learned is None or learned[n]:
            copies[-1].learn(features, label, None if label[0] else np.array([weight]))
    scores, start = RunningScores(), 0
    for n, (features, label) in enumerate(examples):
        page = stream[n][2]
        if page is None or n == 0 or page != stream[n - 1][2]:
            start = n
        decided = [m for m in range(start) if clocks[m] + delay <= clocks[start]]
        scores.update(copies[len(decided)].weights.predict(features), label)
    return copies[-1], scores.total()


@settings(max_examples=40, deadline=None)
@given(stream=rows, delay=st.sampled_from([0, 1, 5, 1_000]), cuts=st.lists(st.integers(1, 23)))
def test_each_prediction_is_that_of_a_copy_of_the_model_from_when_its_page_was_shown(
    stream: list[Row], delay: int, cuts: list[int]
) -> None:
    model, scores, _ = served(stream, delay, cuts)

    expected, their_scores = longhand(stream, delay)
    assert scores == their_scores
    assert model.digest() == expected.digest()


@settings(max_examples=40, deadline=None)
@given(stream=rows, chance=st.randoms(use_true_random=False), delay=st.sampled_from([0, 1, 5, 1_000]), cuts=st.lists(st.integers(1, 23)))
def test_what_is_not_learned_is_predicted_and_scored_all_the_same(stream: list[Row], chance: Random, delay: int, cuts: list[int]) -> None:
    learned = [bool(label) or chance.random() < 0.3 for *_, label in stream]

    model, scores, _ = served(stream, delay, cuts, learned=learned, weight=4.0)

    expected, their_scores = longhand(stream, delay, learned, weight=4.0)
    assert scores == their_scores
    assert scores.examples == len(stream)
    assert model.digest() == expected.digest()


def test_without_delay_and_pages_it_is_the_usual_protocol() -> None:
    random = np.random.default_rng(0)
    stream: list[Row] = [({"user": int(random.integers(9))}, n, None, float(random.random() < 0.3)) for n in range(300)]
    model, scores = OnlineModel(SPEC), RunningScores()
    features, times, _, labels = zip(*stream, strict=True)
    learn_and_score(model, scores, Encoder(SPEC.fields).encode(features, times), np.array(labels, np.float32))

    got, their_scores, _ = served(stream, 0, [100, 101])

    assert their_scores == scores.total()
    assert got.digest() == model.digest()


def test_a_delay_longer_than_the_stream_predicts_everything_by_the_untrained_model() -> None:
    stream: list[Row] = [({"user": n % 5}, n, None, float(n % 2)) for n in range(50)]

    _, scores, _ = served(stream, 1_000, [20])

    assert scores.examples == 50
    untrained = OnlineModel(SPEC).weights.predict(Encoder(SPEC.fields).encode([{"user": 0}], [0]).features)[0]
    assert scores.log_loss == pytest.approx(np.logaddexp(0, untrained) - untrained / 2)


def test_an_example_that_its_fields_do_not_take_moves_no_clock_and_ends_no_page() -> None:
    bad: Row = ({"user": {"no": "value"}}, 1_000_000, "other", 1.0)  # type: ignore[dict-item]
    stream: list[Row] = [({"user": n % 5}, n // 4, n // 4, float(n % 4 == 0)) for n in range(80)]

    model, scores, _ = served(stream, 3, [30])
    same, same_scores, count = served([*stream[:6], bad, *stream[6:], bad], 3, [7, 81])

    assert count == 2
    assert same_scores == scores
    assert same.digest() == model.digest()


def test_only_what_is_undecided_is_held() -> None:
    scores = RunningScores()
    run = ServedStream(OnlineModel(SPEC), scores, delay=10)
    for start in range(0, 1_000, 50):
        times = list(range(start, start + 50))
        run.learn_and_score(Encoder(SPEC.fields).encode([{"user": 1}] * 50, times), times, np.zeros(50, np.float32), [None] * 50)

        assert start + 50 - scores.total().examples <= 10
        assert len(run._waiting) <= 2
        assert len(run._schedule._due) <= 10


@pytest.mark.parametrize(
    "model", [{}, {"base_rate": False}, {"wide": False}, {"network": "dcn"}, {"skip": "none"}, {"records": True}], ids=str
)
def test_where_every_page_has_one_click_at_random_nothing_predicts_better_than_chance(model: dict[str, Any]) -> None:
    random = np.random.default_rng(0)
    spec = SPEC.model_copy(update={"model": SPEC.model.model_copy(update=model), "table": TableSettings(capacity=65_536)})
    spec = spec.model_copy(update={"fields": (Field(name="page"), Field(name="position"))})
    stream: list[Row] = []
    for page in range(3_000):
        click = int(random.integers(5))
        stream += [({"page": f"p{page}", "position": n}, page, page, float(n == click)) for n in range(5)]

    _, honest, _ = served(stream, 0, [1_000], spec)
    _, leaking, _ = served([(features, time, None, label) for features, time, _, label in stream], 0, [1_000], spec)

    assert honest.normalized_entropy is not None
    assert honest.normalized_entropy >= 0.999
    assert honest.auc == pytest.approx(0.5, abs=0.02)
    assert leaking.auc != pytest.approx(0.5, abs=0.02)  # what the test guards against is there: a row tells of the page's rows before it


def test_what_is_shown_between_steps_is_predicted_as_by_a_copy_even_where_a_step_is_undone() -> None:
    random = np.random.default_rng(0)
    examples: list[dict[str, Value]] = [{"user": int(random.integers(5)), "tags": "a,b"[: n % 4]} for n in range(60)]
    features = [Encoder(SPEC.fields).encode([each], [0]).features for each in examples]
    labels, importance = (random.random(60) < 0.3).astype(np.float32), np.ones(60, np.float32)
    importance[[0, 13, 14]] = np.inf
    before = np.sort(random.integers(60, size=60))
    shown = Shown(Encoder(SPEC.fields).encode(examples, [0] * 60).features, before, np.empty(60, np.float32))
    model, copy = OnlineModel(SPEC), OnlineModel(SPEC)

    undone = model.learn(shown.features, labels, importance, shown=shown).undone

    assert undone == [0, 13, 14]
    expected = []
    for n in range(60):
        expected += [copy.weights.predict(features[m])[0] for m in np.flatnonzero(before == n)]
        copy.learn(features[n], labels[n : n + 1], importance[n : n + 1])
    assert shown.logits.tolist() == expected
    assert model.digest() == copy.digest()


def test_where_every_page_has_one_click_at_random_records_that_wait_tell_nothing_and_records_of_the_page_itself_do() -> None:
    """Learned from records alone: where each row of a page is seen as older than the next, a row tells of those before it."""
    random = np.random.default_rng(0)
    model = ModelSettings(hidden=(8,), embedding=2, records=True, base_rate=True, wide=False, embedding_rate=1e-30)
    fields = (Field(name="page"), Field(name="position"))
    spec = Spec(model=model, table=TableSettings(capacity=32_768), fields=fields, label_delay=100)
    stream: list[Row] = []
    for page in range(3_000):
        click = int(random.integers(5))
        stream += [({"page": f"p{page}", "position": n}, 1_000 * page, page, float(n == click)) for n in range(5)]

    _, honest, _ = served(stream, 100, [1_000], spec)
    apart: list[Row] = [
        (features, time + 200 * n, None, label) for n, (features, time, _, label) in zip(list(range(5)) * 3_000, stream, strict=True)
    ]
    _, leaking, _ = served(apart, 100, [1_000], spec)

    assert honest.normalized_entropy is not None
    assert leaking.normalized_entropy is not None
    assert honest.normalized_entropy >= 0.999
    assert honest.auc == pytest.approx(0.5, abs=0.02)
    assert leaking.normalized_entropy < 0.98
    assert leaking.auc is not None
    assert leaking.auc > 0.6
