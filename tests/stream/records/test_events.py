"""Whatever the bytes, decoding gives a struct or a BadRecordError that names the field, what it held and what was expected."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, strategies as st

from stream.dead_letters import dead_letter
from stream.join.matching.waiting import as_written, impression_in, labelled
from stream.log.contract import Record
from stream.log.topics import Topics
from stream.records.events import (
    LARGEST_EVENT,
    BadRecordError,
    Click,
    Example,
    Impression,
    Served,
    Watermark,
    decode_click,
    decode_example,
    decode_impression,
    encode,
)
from stream.records.version import Run, SnapshotRef, Version, decode_version

DECODERS: list[Callable[[bytes | None], object]] = [decode_impression, decode_click, decode_example, decode_version]
GOOD = {"impression_id": "a", "time": 1_700_000_000_000, "features": {"age": 30, "tags": ["x", None], "vip": True}, "label": 1}
VERSION = Version(3, "d1", 20, None, {0: 20}, [Run(0, 5, 19)], [(0, 7)], "s", "f", 1_700_000_000_000, snapshot=SnapshotRef(2, 0, 3, 9))

texts = st.text(max_size=5) | st.sampled_from(["\ud800", "\udfff"])  # half a pair: a site that cuts a text in two may send it
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from([*GOOD, "watermark", "value", "source", "served", "weight", "clicked_at", "offsets", "runs", "version"])


def joined(value: bytes) -> None:
    """What waited comes out of the join with the features that were decoded when it came."""
    try:
        impression = decode_impression(value)
    except BadRecordError:
        return
    if isinstance(impression, Impression):
        example = labelled(impression, None)
        assert decode_example(encode(labelled(impression_in(value), None))) == example == decode_example(encode(example))


def rubbish(value: bytes) -> None:
    joined(value)
    for decode in DECODERS:
        try:
            record = decode(value)
        except BadRecordError:
            continue
        assert decode(encode(record)) == record  # type: ignore[arg-type]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_a_bad_record(value: bytes) -> None:
    rubbish(value)


@pytest.mark.parametrize(
    "written", ["2023-11-14T22:13:20Z", "2023-11-14T22:13:20.000", "2023-11-15T00:13:20.0009+02:00", "2023-11-14 22:13:20Z"]
)
def test_a_time_may_be_iso_8601_and_everything_else_stays_as_it_is(written: str) -> None:
    iso = {**GOOD, "time": written, "clicked_at": written}
    epoch = {**GOOD, "time": 1_700_000_000_000, "clicked_at": 1_700_000_000_000}

    assert decode_example(json.dumps(iso).encode()) == decode_example(json.dumps(epoch).encode())
    assert decode_impression(json.dumps({**GOOD, "time": written}).encode()) == decode_impression(json.dumps(GOOD).encode())
    joined(json.dumps({**GOOD, "time": written}, indent=1).encode())


@pytest.mark.parametrize("written", ["noon", "2023-11-14", "1969-12-31T23:59:59Z", "2023-13-01T00:00:00Z", ""])
def test_a_time_that_is_none_is_named(written: str) -> None:
    with pytest.raises(BadRecordError, match="field 'time'"):
        decode_click(json.dumps({"impression_id": "a", "time": written}).encode())


@pytest.mark.parametrize("name", ["time", "features", "served", "label", "weight", "clicked_at", "policy", "value", "watermark", "version"])
def test_half_a_surrogate_pair_is_a_bad_record_wherever_it_stands(name: str) -> None:
    for value in ("\ud800", {"\ud800": 1}, {"version": "\ud800"}, ["\ud800"]):
        rubbish(json.dumps({**GOOD, name: value}).encode())


@given(anything, st.dictionaries(names, anything))
def test_any_json_is_a_record_or_a_bad_record(value: Any, changes: dict[str, Any]) -> None:
    rubbish(json.dumps(value).encode())
    rubbish(json.dumps({**GOOD, **changes}).encode())


@pytest.mark.parametrize(
    "features",
    [
        '{"a":1,"a":2}',
        '{"a":1},"features":{"b":2}',
        '{ "\\u0061" : "\\ud83d\\ude00" }',
        '{"a":-0,"b":-0.0,"c":1e15,"d":18446744073709551616}',
        '{"a":[1,1.0,"\\/"]}',
    ],
)
def test_features_in_an_odd_form_leave_the_join_as_what_they_were_decoded_to(features: str) -> None:
    joined(b'{"time":1.0,"impression_id":"\\u0061","features":' + features.encode() + b"}")


@given(st.integers(0, 200), st.binary(min_size=1, max_size=3))
def test_a_damaged_record_is_a_record_or_a_bad_record(start: int, damage: bytes) -> None:
    value = json.dumps(GOOD).encode()

    rubbish(value[:start] + damage + value[start + len(damage) :])


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"impression_id":"a","time":1,"features":{"a":', b'{"impression_id":"a","x":'])
def test_a_record_nested_without_end_is_a_bad_record(opening: bytes) -> None:
    rubbish(opening + b"[" * 100_000)
    rubbish(opening * 1_000)


@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"time": "noon"}, "time", "int"),
        ({"time": -1}, "time", "int >= 0"),
        ({"time": 1_700_000_000_000_000}, "time", "epoch milliseconds; this looks like microseconds"),
        ({"time": 253_402_300_800_000}, "time", "epoch milliseconds; this looks like microseconds"),
        ({"time": 1_700_000_000_000_000_000}, "time", "epoch milliseconds; this looks like nanoseconds"),
        ({"time": 2**63}, "time", "epoch milliseconds; this looks like nanoseconds"),
        ({"time": 10**30}, "time", "epoch milliseconds, int <= 253402300799999"),
        ({"clicked_at": 1_700_000_000_000_000}, "clicked_at", "epoch milliseconds; this looks like microseconds"),
        ({"time": 1_700_000_000.25}, "time", "epoch milliseconds; this looks like seconds"),
        ({"time": 1_700_000_000_000.25}, "time", "epoch milliseconds, int"),
        ({"time": True}, "time", "int"),
        ({"impression_id": 7}, "impression_id", "str"),
        ({"impression_id": ""}, "impression_id", "str of length >= 1"),
        ({"features": [1]}, "features", "object"),
        ({"features": {"price": float("nan")}}, "features.price", "bool | int | float | str | array | null"),
        ({"features": {"price": {}}}, "features.price", "bool | int | float | str | array | null"),
        ({"label": 7}, "label", "0 or 1"),
        ({"label": "1"}, "label", "int"),
        ({"weight": -0.5}, "weight", "float >= 0.0"),
    ],
)
def test_a_bad_record_names_its_field_and_what_was_expected(changes: dict[str, Any], field: str, expected: str) -> None:
    with pytest.raises(BadRecordError) as caught:
        decode_example(json.dumps({**GOOD, **changes}).encode())

    assert (caught.value.field, caught.value.expected) == (field, expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("-0.01", "float >= 0.0"),
        ("NaN", "float | null"),
        ("1e999", "float < 9007199254740992.0"),
        ("9007199254740993", "float < 9007199254740992.0"),
        ("1e300", "float < 9007199254740992.0"),
        ('"5"', "float | null"),
    ],
)
def test_a_click_is_worth_nothing_negative_endless_or_absurd(value: str, expected: str) -> None:
    with pytest.raises(BadRecordError) as caught:
        decode_click(f'{{"impression_id": "a", "time": 1, "value": {value}}}'.encode())

    assert (caught.value.field, caught.value.expected) == ("value", expected)


@pytest.mark.parametrize("missing", list(GOOD))
def test_a_record_without_a_field_it_needs_names_that_field(missing: str) -> None:
    value = {name: held for name, held in GOOD.items() if name != missing}

    with pytest.raises(BadRecordError) as caught:
        decode_example(json.dumps(value).encode())

    assert caught.value.field == missing


@pytest.mark.parametrize("value", [None, b"", b"7", b"null", b"[]", b"\xff\xfe", b'{"a"', b'{"impression_id": "\xff"}'])
def test_what_is_no_json_object_is_a_bad_record(value: bytes | None) -> None:
    for decode in DECODERS:
        with pytest.raises(BadRecordError, match="field 'record'"):
            decode(value)


def test_a_number_beyond_any_float_is_a_bad_record() -> None:
    with pytest.raises(BadRecordError, match=r"features\.price.*finite"):
        decode_impression(b'{"impression_id": "a", "time": 1, "features": {"price": 1e999}}')


def test_what_its_example_might_not_fit_the_log_is_a_bad_record() -> None:
    with pytest.raises(BadRecordError, match=f"at most {LARGEST_EVENT} bytes"):
        decode_impression(b" " * (LARGEST_EVENT + 1))


def test_a_watermark_stands_among_impressions_and_clicks() -> None:
    assert decode_impression(b'{"watermark": 5}') == decode_click(b'{"watermark": 5}') == Watermark(5)
    with pytest.raises(BadRecordError, match="field 'watermark': got 'x', expected int"):
        decode_click(b'{"watermark": "x"}')


def test_every_record_is_read_as_it_was_written() -> None:
    impression = Impression("ä", 5, {"a": [1, "x", None, 0.1]}, Served(version=3, probability=0.5))

    assert decode_impression(encode(impression)) == impression
    assert decode_click(encode(Click("ä", 5, 0.25))) == Click("ä", 5, 0.25)
    assert decode_example(encode(Example("ä", 5, {}, 1, clicked_at=9))) == Example("ä", 5, {}, 1, clicked_at=9)
    assert decode_version(encode(VERSION)) == VERSION


@given(anything)
def test_whatever_a_source_calls_itself_its_event_is_read_and_written_again(source: Any) -> None:
    value = json.dumps({"impression_id": "a", "time": 5, "source": source}, ensure_ascii=True).encode()
    try:
        click = decode_click(value)
    except BadRecordError:  # NaN, or half a character: no JSON in UTF-8
        return

    assert isinstance(click, Click)
    assert decode_click(encode(click)) == click


def test_what_is_not_known_is_not_written() -> None:
    assert encode(Click("a", 5)) == b'{"impression_id":"a","time":5}'


def test_a_dead_letter_keeps_the_bytes_and_says_whence_and_why() -> None:
    record = Record("sml.clicks", 2, 41, 0, b"k", b"\xff", (("trace", b"t"),))

    message = dead_letter(record, "join", BadRecordError("time", "noon", "int"), Topics("sml"))

    headers = dict(message.headers)
    assert (message.topic, message.key, message.value) == ("sml.dead-letters", b"k", b"\xff")
    assert headers["trace"] == b"t"
    assert headers["__connect.errors.topic"] == b"sml.clicks"
    assert (headers["__connect.errors.partition"], headers["__connect.errors.offset"]) == (b"2", b"41")
    assert headers["__connect.errors.exception.class.name"] == b"BadRecordError"
    assert headers["__connect.errors.exception.message"] == b"field 'time': got 'noon', expected int"


def test_a_dead_letter_too_large_for_the_log_still_says_where_the_record_stands() -> None:
    message = dead_letter(Record("sml.clicks", 0, 7, 0, b"k", b"x" * 999_000), "join", ValueError("too large"), Topics("sml"))

    assert message.value is None
    assert dict(message.headers)["__connect.errors.offset"] == b"7"


@pytest.mark.parametrize(
    "served", [{"propensity": 0}, {"propensity": 1.5}, {"choice": 0}, {"probability": -0.1}, {"version": -1}, {"arm": 3}]
)
def test_a_served_that_is_out_of_bounds_is_a_bad_record(served: dict[str, Any]) -> None:
    record = {"impression_id": "a", "time": 1, "features": {}, "served": served}

    with pytest.raises(BadRecordError, match="field 'served'"):
        decode_impression(json.dumps(record).encode())


def test_an_example_keeps_by_which_arm_its_impression_was_served_and_no_more_where_there_was_none() -> None:
    by_arm = Served(3, 0.5, "treatment", "first", 0.5, "00ff")

    assert labelled(Impression("a", 1, {}, by_arm), None).served == by_arm
    assert encode(as_written(labelled(Impression("a", 1, {}, Served(3, 0.5)), None))) == encode(labelled(Impression("a", 1, {}), None))
