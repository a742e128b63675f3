"""One value has one key wherever it comes from, two values never share one, and numbers keep their order in buckets."""

import math
import sys

import numpy as np
import pytest
from hypothesis import given, strategies as st

from model.features import Encoder, FeatureError, Row, Value, bucket, canonical, pack
from model.settings import Field

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**15), 10**15)
SCALARS = st.text(max_size=5) | st.integers() | st.floats(allow_infinity=False) | st.booleans() | st.none()


def keys_of(kind: str, value: Value, name: str = "f") -> list[int]:
    """Encode one value of one field."""
    return Encoder([Field.model_validate({"name": name, "kind": kind})]).encode({name: value}, 0).keys


def key_of(kind: str, value: Value, name: str = "f") -> int:
    """Encode a value that has one key."""
    (key,) = keys_of(kind, value, name)
    return key


@pytest.mark.parametrize("kind", ["categorical", "multi"])
@given(number=st.integers(-(2**53), 2**53))
def test_an_integer_is_one_value_as_json_integer_json_float_and_csv_text(kind: str, number: int) -> None:
    assert key_of(kind, number) == key_of(kind, float(number)) == key_of(kind, str(number))


@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_in_a_numeric_field_is_one_value_as_json_and_as_text(number: float) -> None:
    assert key_of("numeric", number) == key_of("numeric", repr(number))


@pytest.mark.parametrize("kind", ["categorical", "multi"])
def test_booleans_are_their_lower_case_names_and_not_one_and_zero(kind: str) -> None:
    encoder = Encoder([Field.model_validate({"name": "f", "kind": kind})])

    keys = [encoder.encode({"f": value}, 0).keys for value in ("1", 1, True, 1.0, "true", "True")]

    assert keys[0] == keys[1] == keys[3]
    assert keys[2] == keys[4]
    assert len({key for (key,) in keys}) == 3  # strings as they are: "True" is a value of its own


@pytest.mark.parametrize("kind", ["categorical", "numeric", "multi"])
def test_absent_null_empty_and_nan_are_the_same_missing_value(kind: str) -> None:
    encoder = Encoder([Field.model_validate({"name": "f", "kind": kind})])

    absent = encoder.encode({}, 0).keys

    assert absent == encoder.encode({"f": None}, 0).keys == encoder.encode({"f": ""}, 0).keys == encoder.encode({"f": math.nan}, 0).keys
    assert absent != encoder.encode({"f": 0}, 0).keys


@given(
    fields=st.lists(
        st.tuples(
            st.sampled_from(["categorical", "numeric", "multi"]),
            st.text(st.sampled_from("a1:=?"), max_size=4),
            st.text("a1:=?", max_size=4),
        ),
        unique=True,
        max_size=30,
    )
)
def test_no_two_pairs_of_field_and_value_share_a_key(fields: list[tuple[str, str, str]]) -> None:
    pairs = {(kind, name, value if kind != "numeric" else "") for kind, name, value in fields}

    keys = {key_of(kind, value, name) for kind, name, value in pairs}

    assert len(keys) == len(pairs)


@given(value=SCALARS | st.lists(SCALARS, max_size=5), name=st.text(max_size=5))
def test_no_key_is_zero_and_every_field_has_one(value: Value, name: str) -> None:
    keys = keys_of("multi", value, name)

    assert keys
    assert all(0 < key < 2**64 for key in keys)


@given(lesser=NUMBERS, greater=NUMBERS)
def test_a_greater_number_never_has_a_lesser_bucket(lesser: float, greater: float) -> None:
    lesser, greater = sorted((lesser, greater))

    assert bucket(lesser) <= bucket(greater)


@given(number=st.floats(min_value=0, exclude_min=True, allow_infinity=False))
def test_negative_zero_and_positive_numbers_never_meet_in_a_bucket(number: float) -> None:
    assert bucket(-number) < bucket(0.0) < bucket(number)
    assert bucket(-0.0) == bucket(0) == 0


def test_the_whole_range_of_floats_has_buckets() -> None:
    assert 0 < bucket(math.ulp(0.0)) < bucket(sys.float_info.min) < bucket(1e-9) < bucket(1e9) < bucket(sys.float_info.max)


@pytest.mark.parametrize("step", [0.001, 0.0001])
def test_small_rates_do_not_collapse(step: float) -> None:
    assert len({bucket(step * times) for times in range(1, 21)}) == 20


def test_rates_between_zero_and_one_do_not_collapse() -> None:
    assert len({bucket(percent / 100) for percent in range(0, 105, 5)}) == 21


@given(number=st.floats(min_value=2, max_value=1e12))
def test_from_two_on_numbers_share_a_bucket_as_their_squared_logarithms_do(number: float) -> None:
    assert bucket(number) - bucket(2.0) == int(math.log(number) ** 2)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("numeric", "abc", "a finite number"),
        ("numeric", math.inf, "a finite number"),
        ("numeric", "-inf", "a finite number"),
        ("numeric", 10**400, "a finite number"),
        ("numeric", [1], "a finite number"),
        ("categorical", math.inf, "a string, a finite number or a boolean"),
        ("categorical", ["a"], "a string, a finite number or a boolean"),
        ("categorical", {"a": 1}, "a string, a finite number or a boolean"),
        ("multi", {"a": 1}, "a string, a finite number or a boolean"),
        ("multi", [["a"]], "a string, a finite number or a boolean"),
        ("multi", ["a", math.inf], "a string, a finite number or a boolean"),
    ],
)
def test_a_value_that_its_field_cannot_take_is_refused_with_field_value_and_expectation(kind: str, value: Value, expected: str) -> None:
    with pytest.raises(FeatureError, match=r"^field 'price': got .*, expected ") as refusal:
        key_of(kind, value, "price")

    assert (refusal.value.field, refusal.value.expected) == ("price", expected)


def test_a_list_and_a_separated_string_are_the_same_set_of_values() -> None:
    tags = Field(name="tags", kind="multi", separator="|")

    listed = Encoder([tags]).encode({"tags": ["39", 12, None, "", 39]}, 0)

    assert listed == Encoder([tags]).encode({"tags": "39| 12||39"}, 0)
    assert listed.counts == [2]
    assert Encoder([tags]).encode({"tags": []}, 0) == Encoder([tags]).encode({}, 0)


def test_hour_and_weekday_come_from_the_time_in_utc() -> None:
    fields = [Field(name="hour", kind="hour"), Field(name="weekday", kind="weekday")]
    monday_noon = 1_650_888_000_000  # 2022-04-25 12:00 UTC

    rows = [Encoder(fields).encode({}, monday_noon + hours * 3_600_000) for hours in range(7 * 24)]

    assert len({row.keys[0] for row in rows}) == 24
    assert len({row.keys[1] for row in rows}) == 7
    assert rows[11].keys[1] == rows[0].keys[1] != rows[12].keys[1]  # midnight changes the weekday
    assert rows[0].keys[0] == rows[24].keys[0]


def test_features_that_no_field_is_named_after_are_counted() -> None:
    encoder = Encoder([Field(name="a"), Field(name="hour", kind="hour")])

    encoder.encode({"a": 1, "b": 2, "hour": 3}, 0)
    encoder.encode({"b": 2}, 0)
    encoder.encode({"a": 2}, 0)

    assert encoder.unknown == 3


@given(st.lists(SCALARS, max_size=20))
def test_what_was_encoded_before_changes_no_key(values: list[Value]) -> None:
    encoder = Encoder([Field(name="f")])

    keys = [encoder.encode({"f": value}, 0).keys for value in [*values, *values]]

    assert keys == [keys_of("categorical", value) for value in [*values, *values]]


def test_more_values_than_are_remembered_keep_their_keys() -> None:
    encoder = Encoder([Field(name="f")])

    first = [encoder.encode({"f": str(value)}, 0).keys for value in range(20_000)]

    assert first == [encoder.encode({"f": str(value)}, 0).keys for value in range(20_000)]


@given(
    st.integers(1, 3).flatmap(
        lambda f: st.lists(st.lists(st.lists(st.integers(1, 2**64 - 1), min_size=1, max_size=3), min_size=f, max_size=f))
    )
)
def test_packed_keys_are_found_at_their_position(examples: list[list[list[int]]]) -> None:
    rows = [Row([key for field in example for key in field], [len(field) for field in example]) for example in examples]

    features = pack(rows)

    positions = [field for example in examples for field in example]
    assert features.keys.dtype == np.uint64
    assert features.starts.dtype == np.int64
    assert len(features.starts) == len(positions) + 1
    assert [features.keys[i:j].tolist() for i, j in zip(features.starts, features.starts[1:], strict=False)] == positions


def test_canonical_text_of_a_fraction_reads_back_as_the_number() -> None:
    assert canonical(0.1) == "0.1"
    assert canonical(-0.0) == "0"
    assert canonical(1e16) == "10000000000000000"
