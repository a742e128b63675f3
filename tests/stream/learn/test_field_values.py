"""What is decoded straight into the values of fields is what a dictionary of features gives, whatever the record."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from hypothesis import given, settings, strategies as st

from model.encoding.features import Encoder
from model.settings import Field
from stream.learn.field_values import FieldValues
from stream.records.events import BadRecordError, Example, Forget, decode_example_or_forget

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
                              "features": st.fixed_dictionaries({}, optional={name: st.text(max_size=2) | st.integers(0, 9) for name in ("a", "b c", "", "more", "ä", '5"\\\n')})})  # fmt: skip


def record(features: Any) -> bytes:
    return json.dumps({"impression_id": "i", "time": 1, "label": 0, "features": features}).encode()


def meet(values: FieldValues, *examples: Iterable[str]) -> None:
    """Decode an example with features of these names, for each of some."""
    for names in examples:
        values.decode(record(dict.fromkeys(names, 1)))


def taken(values: FieldValues, *features: Any) -> Any:
    """Decode an example with each of these features, and take them together."""
    examples: list[Any] = [values.decode(record(each)) for each in features]
    return values.of(examples)


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
    often=st.sampled_from([(), ("more",), ("more", "other", "hour", "ä")]),
)
def test_every_record_has_the_same_keys_or_the_same_error(
    records: list[Any], cut: int, ascii_only: bool, twice: bool, often: tuple[str, ...]
) -> None:
    texts = [json.dumps(record, ensure_ascii=ascii_only) for record in records]
    texts = [text[:-1] + ', "features": {"\\u0061": 1, "a": 2}}' if twice else text for text in texts]
    values = [text.encode("utf-8", "surrogatepass") for text in texts] + [b'{"forget": "00000000000000ff", "until": 5}'[: 42 - cut]]
    typed, by_columns, by_rows = FieldValues(FIELDS), Encoder(FIELDS), Encoder(FIELDS)
    meet(typed, *([often] * 64 if often else []))
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


def test_examples_with_a_feature_that_no_field_reads_come_in_columns_once_it_has_come_often() -> None:
    values = FieldValues(FIELDS)
    meet(values, *([["id"]] * 64))

    with_it = taken(values, {"a": "x", "id": 0}, {"a": "x", "id": 1})
    without = taken(values, {"a": "x"}, {"a": "x"})
    mixed = taken(values, {"a": "x"}, {"a": "x", "id": None})

    assert isinstance(with_it, Mapping)
    assert with_it["a"].values == ["x", "x"]
    assert with_it["id"].values == [0, 1]
    assert isinstance(without, Mapping)
    assert "id" not in without
    assert [sorted(each) for each in mixed] == [["", "a", "b c"], ["", "a", "b c", "id"]]  # None stands for a feature, too


def test_examples_decoded_before_and_after_a_feature_was_met_often_are_taken_together() -> None:
    values = FieldValues(FIELDS)
    before: Any = values.decode(record({"a": "x"}))
    meet(values, *([["id"]] * 64))

    after: Any = values.decode(record({"a": "y", "id": 1}))
    found: Any = values.of([before, after])

    assert [each["a"] for each in found] == ["x", "y"]


def test_names_that_are_made_up_keep_out_none_that_comes_often() -> None:
    values = FieldValues(FIELDS)
    meet(values, *([f"made up {n}", "id"] for n in range(100)))

    assert isinstance(taken(values, {"id": 1}), Mapping)
    assert not isinstance(taken(values, {"made up 99": 1}), Mapping)


def test_at_most_twenty_names_get_a_place() -> None:
    values = FieldValues(FIELDS)
    meet(values, *([f"{n}"] for n in range(21) for _ in range(64)))

    assert isinstance(taken(values, {"19": 1}), Mapping)
    assert not isinstance(taken(values, {"20": 1}), Mapping)
