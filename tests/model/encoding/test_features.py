"""One value has one key wherever it comes from, two values never share one, and numbers keep their order in buckets."""

import math
import re
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from xxhash import xxh3_64_intdigest

from model.encoding.buckets import bucket, tiles
from model.encoding.features import Column, Encoder
from model.encoding.keys import FeatureError, Value, canonical
from model.settings import Field

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**15), 10**15)
SCALARS = st.text(max_size=5) | st.integers() | st.floats(allow_infinity=False) | st.booleans() | st.none()


def encoded(encoder: Encoder, features: dict[str, Value], time: int = 0) -> list[list[int]]:
    """Encode one example; return the keys of each field."""
    (keys, starts, _), bad = encoder.encode([features], [time])
    if bad:
        raise bad[0]
    return [keys[i:j].tolist() for i, j in pairwise(starts)]


def keys_of(kind: str, value: Value, name: str = "f", bucket_width: float | None = None) -> list[int]:
    """Encode one value of one field."""
    field = Field.model_validate({"name": name, "kind": kind, "bucket_width": bucket_width})
    return encoded(Encoder([field]), {name: value})[0]


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

    keys = [encoded(encoder, {"f": value})[0] for value in ("1", 1, True, 1.0, "true", "True")]

    assert keys[0] == keys[1] == keys[3]
    assert keys[2] == keys[4]
    assert len({key for (key,) in keys}) == 3  # strings as they are: "True" is a value of its own


@pytest.mark.parametrize("kind", ["categorical", "numeric", "multi"])
def test_absent_null_empty_and_nan_are_the_same_missing_value(kind: str) -> None:
    encoder = Encoder([Field.model_validate({"name": "f", "kind": kind})])

    absent = encoded(encoder, {})[0]

    assert absent == encoded(encoder, {"f": None})[0] == encoded(encoder, {"f": ""})[0] == encoded(encoder, {"f": math.nan})[0]
    assert absent != encoded(encoder, {"f": 0})[0]


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


WIDTHS = st.floats(min_value=0, exclude_min=True, allow_infinity=False)


@given(lesser=NUMBERS, greater=NUMBERS, width=WIDTHS)
def test_of_equal_buckets_too_a_greater_number_never_has_a_lesser_one(lesser: float, greater: float, width: float) -> None:
    lesser, greater = sorted((lesser, greater))

    assert bucket(lesser, width) <= bucket(greater, width)


@given(number=st.integers(-(10**6), 10**6), width=st.sampled_from([0.25, 0.5, 1.0, 2.0, 8.0]))
def test_an_equal_bucket_begins_at_a_multiple_of_its_width(number: int, width: float) -> None:
    assert bucket(number, width) == number // width


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


@pytest.mark.parametrize("several", [list, "|".join])
def test_one_example_names_at_most_a_thousand_values_of_a_field(several: Callable[[list[str]], Value]) -> None:
    """Each takes a row of the table, which all examples share."""
    encoder = Encoder([Field(name="tags", kind="multi", separator="|")])
    values = [f"v{n}" for n in range(1001)]

    assert len(encoded(encoder, {"tags": several(values[:1000])})[0]) == 1000
    with pytest.raises(FeatureError, match=r"^field 'tags': got '1001 values', expected at most 1000 values$"):
        encoded(encoder, {"tags": several(values)})


def test_the_lists_of_one_example_hold_at_most_four_thousand_values_together_and_harm_no_other_example() -> None:
    fields = [Field(name=f"tags{n}", kind="multi") for n in range(6)]
    lists: dict[str, Value] = {field.name: [f"v{n}" for n in range(800)] for field in fields}
    honest: dict[str, Value] = {"tags0": ["a", "b"], "tags5": "c"}
    encoder = Encoder(fields)

    encoded_all = encoder.encode([honest, lists, honest, dict(list(lists.items())[:4])], [0] * 4)

    assert str(encoded_all.bad[1]) == "field 'features': got 'lists of 4800 values', expected at most 4000 values in all lists together"
    assert list(encoded_all.bad) == [1]
    assert np.array_equal(encoded_all.features.keys[:7], encoder.encode([honest], [0]).features.keys)
    assert len(encoded_all.features.keys) == 2 * 7 + 3202


def test_a_list_and_a_separated_string_are_the_same_set_of_values() -> None:
    tags = Field(name="tags", kind="multi", separator="|")

    listed = encoded(Encoder([tags]), {"tags": ["39", 12, None, "", 39]})

    assert listed == encoded(Encoder([tags]), {"tags": "39| 12||39"})
    assert listed == encoded(Encoder([tags]), {"tags": "['39'| 12|| \"39\"]"})
    assert [len(keys) for keys in listed] == [2]
    assert encoded(Encoder([tags]), {"tags": []}) == encoded(Encoder([tags]), {})


def test_hour_and_weekday_come_from_the_time_in_utc() -> None:
    fields = [Field(name="hour", kind="hour"), Field(name="weekday", kind="weekday")]
    monday_noon = 1_650_888_000_000  # 2022-04-25 12:00 UTC

    rows = [encoded(Encoder(fields), {}, monday_noon + hours * 3_600_000) for hours in range(7 * 24)]

    assert len({row[0][0] for row in rows}) == 24
    assert len({row[1][0] for row in rows}) == 7
    assert rows[11][1] == rows[0][1] != rows[12][1]  # midnight changes the weekday
    assert rows[0][0] == rows[24][0]


def test_features_that_no_field_is_named_after_are_counted() -> None:
    encoder = Encoder([Field(name="a"), Field(name="hour", kind="hour")])

    encoder.encode([{"a": 1, "b": 2, "hour": 3}], [0])
    encoder.encode([{"b": 2}, {"a": 2}], [0, 0])

    assert encoder.ignored.counts() == {"b": 2, "hour": 1}


@given(st.lists(SCALARS, max_size=20))
def test_what_was_encoded_before_changes_no_key(values: list[Value]) -> None:
    encoder = Encoder([Field(name="f")])

    keys = [encoded(encoder, {"f": value})[0] for value in [*values, *values]]

    assert keys == [keys_of("categorical", value) for value in [*values, *values]]


def test_more_values_than_are_remembered_keep_their_keys() -> None:
    encoder = Encoder([Field(name="f")])

    first = [encoded(encoder, {"f": str(value)})[0] for value in range(20_000)]

    assert first == [encoded(encoder, {"f": str(value)})[0] for value in range(20_000)]


FIELDS = [
    Field(name="a"),
    Field(name="b", kind="numeric"),
    Field(name="c", kind="multi"),
    Field(name="d", kind="hour"),
    Field(name="a:c", kind="cross", of=("a", "c")),
    Field(name="e", kind="numeric", tiles=3),
    Field(name="e:d", kind="cross", of=("e", "d")),
    Field(name="f", kind="numeric", tiles=2, bucket_width=0.1),
    Field(name="g", kind="numeric", tiles=3, bucket_width=0.1),
    Field(name="e:f", kind="cross", of=("e", "f")),
    Field(name="g:e", kind="cross", of=("g", "e")),
    Field(name="h", kind="multi", separator="|"),
    Field(name="a&c", kind="overlap", of=("a", "c")),
    Field(name="h&c", kind="overlap", of=("h", "c")),
]
EXAMPLES = st.fixed_dictionaries({}, optional={name: SCALARS | st.lists(SCALARS, max_size=3) for name in "abcdefgh"})


@given(st.lists(st.tuples(EXAMPLES, st.integers(0, 10**13)), max_size=6))
def test_an_example_has_the_same_keys_alone_and_in_a_crowd_and_is_refused_for_the_same_reason(examples: list[tuple[Any, int]]) -> None:
    (keys, starts, _), bad = Encoder(FIELDS).encode([features for features, _ in examples], [time for _, time in examples])

    assert (keys.dtype, starts.dtype) == (np.dtype(np.uint64), np.dtype(np.int64))
    positions = iter([keys[i:j].tolist() for i, j in pairwise(starts)])
    for n, (features, time) in enumerate(examples):
        if n in bad:
            with pytest.raises(FeatureError, match=re.escape(str(bad[n]))):
                encoded(Encoder(FIELDS), features, time)
        else:
            assert [next(positions) for _ in FIELDS] == encoded(Encoder(FIELDS), features, time)
    assert list(positions) == []


@given(
    columns=st.fixed_dictionaries(
        {}, optional={name: st.lists(SCALARS | st.lists(SCALARS, max_size=3), min_size=1, max_size=4) for name in "abcdehx"}
    ),
    times=st.lists(st.integers(0, 10**13), max_size=8),
    data=st.data(),
)
def test_columns_have_the_keys_of_their_rows_and_the_same_are_refused(
    columns: dict[str, list[Any]], times: list[int], data: st.DataObject
) -> None:
    shared = {}
    for name, values in columns.items() if times else ():
        indices = data.draw(st.lists(st.integers(0, len(values) - 1), min_size=len(times), max_size=len(times)))
        used, positions = np.unique(indices, return_inverse=True)
        shared[name] = Column([values[n] for n in used], positions)
    rows = [{name: values[indices[n]] for name, (values, indices) in shared.items() if indices is not None} for n in range(len(times))]
    by_columns, by_rows = Encoder(FIELDS), Encoder(FIELDS)

    features, bad = by_columns.encode(shared, times)
    expected, refused = by_rows.encode(rows, times)

    assert [each.tolist() for each in features] == [each.tolist() for each in expected]
    assert [(n, str(error)) for n, error in bad.items()] == [(n, str(error)) for n, error in refused.items()]
    assert by_columns.ignored.counts() == by_rows.ignored.counts()


@given(EXAMPLES, st.integers(0, 10**13))
def test_a_cross_has_a_key_for_each_value_with_each_and_of_two_numbers_for_each_row_of_tiles(example: dict[str, Any], time: int) -> None:
    try:
        a, _, c, d, ac, e, ed, f, g, ef, ge, *_ = encoded(Encoder(FIELDS), example, time)
    except FeatureError:
        return

    assert ac == [mixed("a:c", one, other) for one in a for other in c]
    assert ed == [mixed("e:d", one, other) for one in e for other in d]
    assert ef == [mixed("e:f", one, other) for one in e for other in f]
    both = (g, e) if len(g) == len(e) else (g * len(e), e * len(g))  # a missing number is one key
    assert ge == [mixed("g:e", *pair) for pair in zip(*both, strict=True)]


def mixed(name: str, one: int, other: int) -> int:
    """Return the key of a pair, longhand."""

    def finalize(key: int) -> int:
        for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
            key = (key ^ key >> 33) * factor % 2**64
        return key ^ key >> 33

    return finalize(finalize(one ^ xxh3_64_intdigest(f"cross:{len(name)}:{name}".encode())) ^ other)


OVERLAPS = [
    Field(name="item"),
    Field(name="seen", kind="multi"),
    Field(name="liked", kind="multi", separator=" "),
    Field(name="again", kind="overlap", of=("item", "seen")),
    Field(name="both", kind="overlap", of=("seen", "liked")),
]
FEW = st.sampled_from(["x", "y", "z", "5", 5, 5.0, 6, True, "true", "", None, "x,y", "y z"])


def overlaps(example: dict[str, Any]) -> list[int]:
    """Return the keys of both overlaps."""
    return [key for keys in encoded(Encoder(OVERLAPS), example)[3:] for key in keys]


@given(item=FEW, seen=FEW | st.lists(FEW, max_size=14), liked=FEW | st.lists(FEW, max_size=14))
def test_an_overlap_is_of_how_many_values_two_fields_have_in_common(item: Any, seen: Any, liked: Any) -> None:
    def values(value: Any, separator: str | None) -> set[str]:
        parts = value.split(separator) if separator and isinstance(value, str) else value if isinstance(value, list) else [value]
        return {text for text in map(canonical, parts) if text}

    def key(name: str, of: str, one: set[str], other: set[str]) -> int:
        text = f"={len(one & other)}" if one and other else "?"
        return xxh3_64_intdigest(f"overlap:{len(name)}:{name}{of}{text}".encode())

    items, views, likes = values(item, None), values(seen, ","), values(liked, " ")
    assert overlaps({"item": item, "seen": seen, "liked": liked}) == [
        key("again", ":item:seen", items, views),
        key("both", ":seen:liked", views, likes),
    ]


def test_an_overlap_of_more_than_ten_values_is_as_one_of_ten() -> None:
    found = [overlaps({"seen": list(range(20)), "liked": list(range(count))})[1] for count in range(1, 13)]

    assert len(set(found[:10])) == 10
    assert found[9] == found[10] == found[11]


def test_pairs_of_two_fields_have_keys_of_their_own_in_every_order_and_cross() -> None:
    names, values = ["a", "b"], [str(n) for n in range(20)]
    fields = [*(Field(name=name) for name in names), *(Field(name=f"{x}:{y}", kind="cross", of=(x, y)) for x, y in (names, names[::-1]))]

    keys, _, _ = Encoder(fields).encode([{"a": a, "b": b} for a in values for b in values], [0] * 400).features

    assert len(set(keys.tolist())) == 20 + 20 + 400 + 400


def test_crossed_lists_count_as_lists_do_and_harm_no_other_example() -> None:
    encoder = Encoder([Field(name="a", kind="multi"), Field(name="b", kind="multi"), Field(name="a:b", kind="cross", of=("a", "b"))])
    lists: list[Any] = [[str(n) for n in range(length)] for length in (62, 64, 3)]

    (_, starts, _), bad = encoder.encode([{"a": each, "b": each} for each in lists], [0] * 3)

    assert np.diff(starts).tolist() == [62, 62, 62 * 62, 3, 3, 9]
    assert {n: str(error) for n, error in bad.items()} == {
        1: "field 'features': got 'lists of 4224 values', expected at most 4000 values in all lists together"
    }


def test_the_key_of_a_value_is_the_hash_of_its_framed_text() -> None:
    assert key_of("categorical", "ä", "price") == xxh3_64_intdigest("categorical:5:price=ä".encode())
    assert key_of("numeric", -1.0, "price") == xxh3_64_intdigest(f"numeric:5:price={bucket(-1)}".encode())
    assert keys_of("multi", [True, "b"], "tags") == [xxh3_64_intdigest(f"multi:4:tags={text}".encode()) for text in ("true", "b")]
    assert key_of("categorical", None, "price") == xxh3_64_intdigest(b"categorical:5:price?")


def test_the_key_of_a_number_is_that_of_its_buckets_width_too() -> None:
    keys = {width: keys_of("numeric", 44.97, "lat", bucket_width=width)[0] for width in (None, 0.1, 0.2)}

    assert keys[0.1] == xxh3_64_intdigest(b"numeric:3:lat:0.1=449")
    assert len(set(keys.values())) == 3


@given(number=NUMBERS, count=st.integers(1, 8), width=st.none() | WIDTHS)
def test_tiles_add_the_keys_of_wide_buckets_to_that_of_a_numbers_own(number: float, count: int, width: float | None) -> None:
    (keys,) = encoded(Encoder([Field(name="f", kind="numeric", tiles=count, bucket_width=width)]), {"f": number})

    assert [keys[0]] == keys_of("numeric", number, bucket_width=width)
    assert len(set(keys)) == 1 + count


@given(number=NUMBERS, near=NUMBERS, far=NUMBERS, count=st.integers(1, 8), width=st.none() | WIDTHS)
def test_two_numbers_share_the_more_wide_buckets_the_nearer_they_are(
    number: float, near: float, far: float, count: int, width: float | None
) -> None:
    number, near, far = sorted((number, near, far))
    rows = [tiles(each, count, width) for each in (number, near, far)]

    shared = [sum(a == b for a, b in zip(rows[0], row, strict=True)) for row in rows]

    assert shared == sorted(shared, reverse=True)
    if bucket(far, width) - bucket(number, width) > 8:
        assert shared[2] == 0
    assert all(a <= b <= c for a, b, c in zip(*rows, strict=True))


def test_with_tiles_a_missing_number_has_one_key_and_what_is_no_number_is_refused_as_ever() -> None:
    encoder = Encoder([Field(name="f", kind="numeric", tiles=4)])

    assert [encoded(encoder, {"f": value})[0] for value in (None, "", math.nan)] == [keys_of("numeric", None)] * 3
    with pytest.raises(FeatureError, match=r"field 'f': got 'abc', expected a finite number"):
        encoded(encoder, {"f": "abc"})


@pytest.mark.parametrize("width", [None, 0.5])
@pytest.mark.parametrize("value", [math.inf, "-inf", "Infinity", 10**400])
def test_an_infinite_number_is_refused_whatever_its_buckets_are(width: float | None, value: Any) -> None:
    with pytest.raises(FeatureError, match=r"field 'f': got .*, expected a finite number"):
        keys_of("numeric", value, bucket_width=width)


def test_canonical_text_of_a_fraction_reads_back_as_the_number() -> None:
    assert canonical(0.1) == "0.1"
    assert canonical(-0.0) == "0"
    assert canonical(1e16) == "10000000000000000"
