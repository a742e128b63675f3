"""Examples that are predicted together have the bits of each alone, and of a learner's own prediction, whatever they have in common."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from model.encoding.features import Encoder
from model.encoding.keys import Value
from model.kernels.tower.batch import MOST
from model.online import OnlineModel
from model.settings import Field, ModelSettings, Spec, TableSettings

FIELDS = (Field(name="user"), Field(name="tags", kind="multi"), Field(name="item"), Field(name="price", kind="numeric", tiles=2))
Row = dict[str, Value]

rows = st.fixed_dictionaries(
    {"user": st.integers(0, 9), "tags": st.lists(st.integers(0, 4), max_size=3), "item": st.integers(0, 9), "price": st.floats(0, 9)}
)


@pytest.fixture(
    scope="module",
    params=[
        {"hidden": (13, 6), "embedding": 5, "records": True},
        {"hidden": (8,), "embedding": 3, "skip_input": "post"},
        {"hidden": (6, 17), "embedding": 4, "skip": "weight_tanh", "records": True},
        {"hidden": (9, 5), "embedding": 3, "skip": "meta_tanh_online"},
    ],
)
def online(request: pytest.FixtureRequest) -> OnlineModel:
    """Return a model that knows most of the values above."""
    online = OnlineModel(Spec(model=ModelSettings(**request.param), table=TableSettings(capacity=256), fields=FIELDS))
    random = np.random.default_rng(0)
    seen: list[Row] = [{"user": n % 7, "tags": [n % 3, n % 5], "item": n % 8, "price": n % 9} for n in range(200)]
    online.learn(Encoder(FIELDS).encode(seen, list(range(200))).features, random.integers(0, 2, 200).astype(np.float32))
    return online


@settings(max_examples=30, deadline=None)
@given(
    context=st.sets(st.sampled_from(["user", "tags", "item", "price"])), few=st.lists(rows, min_size=1, max_size=9), shuffle=st.randoms()
)
@pytest.mark.parametrize("count", [1, 7, MOST, MOST + 5])
def test_a_logit_among_others_has_the_bits_of_one_alone_and_of_the_learners(
    online: OnlineModel, count: int, context: set[str], few: list[Row], shuffle: Any
) -> None:
    candidates = [{**shuffle.choice(few), **{name: few[0][name] for name in context}} for _ in range(count)]
    encoder = Encoder(FIELDS)

    together = online.weights.predict(encoder.encode(candidates, [500] * count).features)
    alone = [online.weights.predict(encoder.encode([each], [500]).features)[0] for each in candidates]
    copy = OnlineModel.from_state(online.spec, online.state())
    learner = copy.learn(encoder.encode(candidates[-1:], [500]).features, np.zeros(1, np.float32)).logits

    assert together.tobytes() == np.array(alone).tobytes()
    assert together[-1:].tobytes() == learner.tobytes()
