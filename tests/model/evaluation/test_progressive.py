"""Examples are predicted, learned and scored in one call as in separate calls, one by one."""

import numpy as np
import pytest

from model.encoding.features import Encoder
from model.encoding.keys import Value
from model.evaluation.progressive import learn_and_score, predict_then_learn
from model.evaluation.scores import RunningScores
from model.kernels.delay import stream_logits
from model.online import OnlineModel
from model.settings import Field, ModelSettings, Spec, TableSettings

SPEC = Spec(
    model=ModelSettings(hidden=(8, 4), embedding=4),
    table=TableSettings(capacity=256),
    fields=(Field(name="user"), Field(name="price", kind="numeric")),
)
COUNT = 60
RANDOM = np.random.default_rng(0)
FEATURES: list[dict[str, Value]] = [{"user": int(RANDOM.integers(20)), "price": float(RANDOM.random())} for _ in range(COUNT)]
TIMES = list(range(COUNT))
LABELS = (RANDOM.random(COUNT) < 0.3).astype(np.float32)
MISFITS, UNDONE = [7, 30], [3, 31, 59]


def test_what_does_not_fit_or_is_undone_is_named_and_the_rest_is_learned_and_scored_as_one_by_one() -> None:
    features: list[dict[str, Value]] = [{"user": 1, "price": "dear"} if n in MISFITS else each for n, each in enumerate(FEATURES)]
    importance = np.where(np.isin(np.arange(COUNT), UNDONE), np.inf, 1).astype(np.float32)
    together, alone, scores, expected = OnlineModel(SPEC), OnlineModel(SPEC), RunningScores(), RunningScores()

    outcome = learn_and_score(together, scores, Encoder(SPEC.fields).encode(features, TIMES), LABELS, importance)

    rest = [n for n in range(COUNT) if n not in MISFITS + UNDONE]
    for n in rest:
        encoded, _ = Encoder(SPEC.fields).encode([features[n]], [TIMES[n]])
        expected.update(alone.learn(encoded, LABELS[[n]]).logits, LABELS[[n]])
    assert (list(outcome.learned), list(outcome.misfits), list(outcome.undone)) == (rest, MISFITS, UNDONE)
    assert together.digest() == alone.digest()
    assert scores.total() == expected.total()


@pytest.mark.parametrize("late", [False, True])
def test_the_logits_to_score_are_those_of_the_labels_own_stream(late: bool) -> None:
    encoded, _ = Encoder(SPEC.fields).encode(FEATURES, TIMES)
    fnw = np.full(COUNT, late)
    plain = OnlineModel(SPEC).learn(encoded, LABELS, None, fnw).logits

    logits, undone = predict_then_learn(OnlineModel(SPEC), encoded, LABELS, None, fnw)

    np.testing.assert_array_equal(logits, stream_logits(plain) if late else plain)
    assert undone == []
