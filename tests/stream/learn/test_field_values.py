"""What is decoded straight into the values of fields is what a dictionary of features gives, whatever the record."""

import json
from typing import Any

from hypothesis import given, settings, strategies as st

from model.features import Encoder
from model.settings import Field
from stream.events import BadRecordError, Example, Forget, decode_example_or_forget
from stream.learn.field_values import FieldValues

FIELDS = [
    Field(name="a"),
    Field(name="b c", kind="numeric"),
    Field(name="", kind="multi"),
    Field(name="hour", kind="hour"),
    Field(name="a", kind="multi"),
    Field(name='5"\\\n'),
    Field(name="other", kind="cross", of=("b c", "hour")),
]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.just("x"), SCALARS, max_size=1)
FEATURES = st.dictionaries(st.sampled_from(["a", "b c", "", "hour", "f0", "other", '5"\\\n']), VALUES) | VALUES
PARTS = {
    "impression_id": st.text(max_size=2),
    "time": st.integers(-1, 10**13) | st.floats(0, 9),
    "label": st.sampled_from([0, 1, 2, True, "1"]),
    "features": FEATURES,
}
ODD = st.fixed_dictionaries(
    PARTS, optional={"weight": SCALARS, "policy": st.sampled_from(["fnw", "x", None]), "clicked_at": SCALARS, "more": VALUES}
)
GOOD = st.fixed_dictionaries({"impression_id": st.just("i"), "time": st.integers(0, 10**13), "label": st.sampled_from([0, 1]),
                              "features": st.fixed_dictionaries({}, optional={name: st.text(max_size=2) | st.integers(0, 9) for name in ("a", "b c", "", "more", '5"\\\n')})})  # fmt: skip


def decoded(decode: Any, value: bytes) -> tuple[Any, ...]:
    try:
        found = decode(value)
    except BadRecordError as error:
        return type(error), str(error)
    return (
        (found,)
        if isinstance(found, Forget)
        else (found.impression_id, found.time, found.label, found.weight, found.clicked_at, found.policy)
    )


@settings(max_examples=200, deadline=None)
@given(
    records=st.lists(ODD | GOOD, max_size=6) | st.lists(GOOD, max_size=6),
    cut=st.integers(0, 3),
    ascii_only=st.booleans(),
    twice=st.booleans(),
)
def test_every_record_has_the_same_keys_or_the_same_error(records: list[Any], cut: int, ascii_only: bool, twice: bool) -> None:
    texts = [json.dumps(record, ensure_ascii=ascii_only) for record in records]
    texts = [text[:-1] + ', "features": {"\\u0061": 1, "a": 2}}' if twice else text for text in texts]
    values = [text.encode("utf-8", "surrogatepass") for text in texts] + [b'{"forget": "00000000000000ff", "until": 5}'[: 42 - cut]]
    typed, by_columns, by_rows = FieldValues(FIELDS), Encoder(FIELDS), Encoder(FIELDS)
    examples: list[Example] = []
    expected: list[Example] = []
    for value in values:
        assert decoded(typed.decode, value) == decoded(decode_example_or_forget, value)
        try:
            found, dictionary = typed.decode(value), decode_example_or_forget(value)
        except BadRecordError:
            continue
        if isinstance(dictionary, Example) and not isinstance(found, Forget):
            examples.append(found)
            expected.append(dictionary)

    features, bad = by_columns.encode(typed.of(examples), [each.time for each in examples])
    keys, refused = by_rows.encode([each.features for each in expected], [each.time for each in expected])

    assert [each.tolist() for each in features] == [each.tolist() for each in keys]
    assert {n: str(error) for n, error in bad.items()} == {n: str(error) for n, error in refused.items()}
    assert by_columns.ignored.counts() == by_rows.ignored.counts()
