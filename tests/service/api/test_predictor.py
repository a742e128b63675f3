"""The candidates of a request are taken by column, those of the context once: keys, errors and counts are those of each candidate alone."""

from typing import Any

from hypothesis import given, settings, strategies as st

from model.encoding.features import Encoder
from model.settings import Field
from model.weights import Weights
from service.api.answers import BadRequestError
from service.api.messages import ExplainRequest
from service.api.predictor import Predictor
from stream.weights.chunks import WeightsHeader
from tests.service.fakes import SPEC

HEADER = WeightsHeader(1, 0, "digest", 100, None, 1_000)
WITH_ID = SPEC.model_copy(update={"fields": (*SPEC.fields, Field(name="id"))})
WEIGHTS = {spec: Weights(spec) for spec in (SPEC, WITH_ID)}

scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.sampled_from(["", "a", "7", "\ud800"])
values = scalars | st.lists(scalars, max_size=3)
features = st.dictionaries(st.sampled_from(["user", "item", "price", "tags", "hour", "colour", "id"]), values, max_size=5)
same_names = st.lists(st.sampled_from(["user", "item", "price", "tags", "colour"]), unique=True, max_size=3).flatmap(
    lambda names: st.lists(st.fixed_dictionaries(dict.fromkeys(names, values)), min_size=1, max_size=4)
)


def outcome(predictor: Predictor, request: ExplainRequest, time: int, *, alone: bool) -> tuple[Any, ...]:
    """Return the probabilities, or the field at fault, and how often each name was ignored."""
    parts = [ExplainRequest([each], request.context) for each in request.candidates] if alone else [request]
    predicted: list[float] = []
    for number, part in enumerate(parts):
        try:
            predicted += predictor.predict(part, time).probabilities
        except BadRequestError as error:
            return error.field.replace("candidates[0]", f"candidates[{number}]") if alone else error.field, error.reason
    return predicted, predictor.encoder.ignored.counts()


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([SPEC, WITH_ID]), features, same_names | st.lists(features, min_size=1, max_size=4), st.integers(0, 10**12))
def test_a_candidate_among_others_is_taken_as_it_is_alone(
    spec: Any, context: dict[str, Any], candidates: list[dict[str, Any]], time: int
) -> None:
    numbered: list[dict[str, Any]] = [{**each, "id": number} for number, each in enumerate(candidates)]
    request = ExplainRequest(numbered, context)
    together, each = (Predictor(HEADER, WEIGHTS[spec], Encoder(spec.fields)) for _ in range(2))

    assert outcome(together, request, time, alone=False) == outcome(each, request, time, alone=True)
