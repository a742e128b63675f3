"""What is mapped is what one would write by hand; what can't be is refused by pointer, value and expectation, in bounded memory."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from stream.inputs.mapping import LARGEST_MAPPED, MOST_ITEMS, Mapper
from stream.inputs.settings import InputSettings
from stream.inputs.values import MappingError
from stream.records.events import LARGEST_EVENT, BadRecordError, decode_click, decode_impression

NOW = 1_790_000_000_000
VIEWS = {
    "topic": "views",
    "where": {"/type": "view"},
    "id": "/page/id",
    "time": "/at",
    "features": {"user": "/user", "country": "/geo/country"},
    "items": "/page/items",
    "item_id": "/sku",
    "item_features": {"item": "/sku", "price": "/offer/price", "tags": "/tags"},
}
CLICKS = {"topic": "views", "where": {"/type": "click"}, "id": "/page", "item_id": "/sku", "time": "/at", "value": "/worth"}


def mapper(impressions: dict[str, Any] | None = None, clicks: dict[str, Any] | None = None) -> Mapper:
    return Mapper(InputSettings.model_validate({"impressions": impressions, "clicks": clicks}), "views")


def mapped(mapper: Mapper, event: object) -> list[dict[str, Any]]:
    return [json.loads(each.value) for each in mapper.map(json.dumps(event).encode())]


def view(*skus: str | int, **changes: Any) -> dict[str, Any]:
    items = [{"sku": sku, "offer": {"price": 9.5}} for sku in skus]
    return {"type": "view", "at": NOW, "user": {"id": "u17"}, "page": {"id": "p1", "items": items}} | changes


def refused(mapper: Mapper, event: object) -> str:
    with pytest.raises(BadRecordError) as caught:
        mapped(mapper, event)
    return str(caught.value)


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=5)
ids = st.one_of(texts, st.integers(-(2**63), 2**63))
scalars = st.one_of(texts, st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none())
# Names without a dot: two of those with one may be the same name, which is refused.
names = st.text(st.characters(codec="utf-8", exclude_characters="."), min_size=1, max_size=3)
goods = st.fixed_dictionaries({"sku": ids, "price": scalars, "tags": st.lists(scalars, max_size=3)})


@given(
    page=ids,
    user=st.dictionaries(names, scalars, max_size=3),
    device=st.dictionaries(names, scalars, max_size=3),
    country=scalars,
    items=st.lists(goods, max_size=4),
    at=st.integers(0, 2 * NOW),
)
def test_a_page_is_mapped_to_the_impressions_that_one_would_write_by_hand(
    page: str | int, user: dict[str, Any], device: dict[str, Any], country: Any, items: list[dict[str, Any]], at: int
) -> None:
    page_items = [{"sku": each["sku"], "offer": {"price": each["price"], "more": [{}]}, "tags": each["tags"]} for each in items]
    event = {
        "type": "view",
        "at": at,
        "user": user | {"the.device": device},
        "geo": {"country": country},
        "page": {"id": page, "items": page_items},
        "noise": [[{}]],
    }

    found = mapper(VIEWS, CLICKS).map(json.dumps(event).encode())

    shared = {f"user.{name}": value for name, value in user.items()} | {f"user.the.device.{name}": value for name, value in device.items()}
    assert [json.loads(each.value) for each in found] == [
        {
            "impression_id": f"{str(page).replace('~', '~0').replace('/', '~1')}/{each['sku']}",
            "time": at,
            "features": {**shared, "country": country, "item": each["sku"], "price": each["price"], "tags": each["tags"]},
        }
        for each in items
    ]
    assert [decode_impression(each.value).impression_id for each in found] == [each.impression_id for each in found]  # type: ignore[union-attr]
    assert not any(each.is_click for each in found)


@given(page=ids, sku=ids, at=st.integers(0, 2 * NOW), worth=st.one_of(st.none(), st.floats(0, 2**52), st.integers(0, 2**52)))
def test_a_click_names_the_impression_by_its_page_and_item(page: str | int, sku: str | int, at: int, worth: float | None) -> None:
    event = {"type": "click", "page": page, "sku": sku, "at": at, "worth": worth}

    (click,) = mapper(VIEWS, CLICKS).map(json.dumps(event).encode())
    shown = mapper(VIEWS, CLICKS).map(json.dumps(view(sku, page={"id": page, "items": [{"sku": sku}]})).encode())

    expected = {"impression_id": shown[0].impression_id, "time": at} | ({} if worth is None else {"value": worth})
    assert json.loads(click.value) == expected
    assert decode_click(click.value).value == worth  # type: ignore[union-attr]
    assert click.is_click


@given(one=st.tuples(texts, texts), other=st.tuples(texts, texts))
def test_two_items_have_one_id_only_if_page_and_item_are_the_same(one: tuple[str, str], other: tuple[str, str]) -> None:
    events = [{"type": "click", "page": page, "sku": sku, "at": NOW} for page, sku in (one, other)]

    first, second = (mapped(mapper(None, CLICKS), event)[0]["impression_id"] for event in events)

    assert (first == second) == (one == other)


def test_without_an_item_id_the_index_tells_items_apart_and_with_one_a_repeated_item_keeps_its_id() -> None:
    by_index = {name: pointer for name, pointer in VIEWS.items() if name != "item_id"}

    assert [each["impression_id"] for each in mapped(mapper(by_index), view("a", "b", "a"))] == ["p1/0", "p1/1", "p1/2"]
    assert [each["impression_id"] for each in mapped(mapper(VIEWS), view("a", "b", "a"))] == ["p1/a", "p1/b", "p1/a"]


def test_an_event_without_items_is_one_impression_with_the_id_that_it_has() -> None:
    plain = {"topic": "views", "id": "/id", "time": "/at", "features": {"all": ""}}

    assert mapped(mapper(plain), {"id": "a/b", "at": NOW}) == [
        {"impression_id": "a/b", "time": NOW, "features": {"all.id": "a/b", "all.at": NOW}}
    ]


@pytest.mark.parametrize(
    ("unit", "time"),
    [
        ("s", 1_790_000_000),
        ("s", 1_790_000_000.000_4),
        ("s", "1790000000"),
        ("ms", NOW),
        ("ms", str(NOW)),
        ("us", NOW * 1_000 + 999),
        ("ns", NOW * 1_000_000 + 999_999),
        ("s", "2026-09-21T14:13:20Z"),
        ("ns", "2026-09-21T16:13:20.000+02:00"),
        ("ms", "2026-09-21 14:13:20"),
    ],
)
def test_a_time_is_read_in_its_unit_or_as_iso_8601(unit: str, time: Any) -> None:
    assert [each["time"] for each in mapped(mapper(VIEWS | {"time_unit": unit}), view("a", at=time))] == [NOW]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"at": "noon"}, r"field '/at': got 'noon', expected epoch milliseconds \(time_unit\), or ISO 8601, as input.impressions.time"),
        ({"at": None}, "field '/at': got None, expected epoch"),
        ({"at": True}, "field '/at': got True, expected epoch"),
        ({"at": -1}, "field '/at': got -1, expected epoch milliseconds"),
        ({"at": 1e300}, "field '/at': got 1e[+]300, expected epoch milliseconds"),
        ({"at": "9" * 5_000}, "field '/at': got '9999"),
        ({"at": NOW * 1_000}, "expected epoch milliseconds; this looks like microseconds, as input.impressions.time"),
        ({"page": {"items": []}}, None),  # nothing was shown
        (
            {"page": {"items": [{"sku": "a"}]}},
            "field '/page/id': got 'nothing', expected a text of 1 to 1,000 characters, or a whole number",
        ),
        ({"page": {"id": 1.5, "items": [{"sku": "a"}]}}, "field '/page/id': got 1.5, expected a text"),
        ({"page": {"id": "p"}}, "field '/page/items': got 'nothing', expected an array of at most 1,000, as input.impressions.items"),
        ({"page": {"id": "p", "items": {"0": {}}}}, "field '/page/items': got {'0': {}}, expected an array"),
        ({"page": "p1"}, "field '/page/items': got 'p1', expected objects and arrays on the way, as input.impressions.items"),
        ({"page": {"id": "p", "items": [{"sku": "a"}, {}]}}, "field '/page/items/1/sku': got 'nothing', expected a text"),
        ({"page": {"id": "p", "items": [{"sku": ""}]}}, "field '/page/items/0/sku': got '', expected a text"),
        ({"page": {"id": "p" * 600, "items": [{"sku": "a" * 600}]}}, "field '/page/items/0/sku': got '.*expected an id of at most 1,000"),
        ({"page": {"id": "p", "items": ["a"]}}, "field '/page/items/0/sku': got 'a', expected objects and arrays on the way"),
        (
            {"user": {"id": [{"x": 1}]}},
            r"field '/user': got {'user.id': \[{'x': 1}\]}, expected a text, number, boolean or null, or a list",
        ),
        ({"geo": "de"}, "field '/geo/country': got 'de', expected objects and arrays on the way, as input.impressions.features.country"),
        ({"user": {"a.b": 1, "a": {"b": 2}}}, "field '/user': got 'user.a.b', expected no feature twice"),
    ],
)
def test_what_can_not_be_mapped_is_refused_by_pointer_value_and_expectation(changes: dict[str, Any], complaint: str | None) -> None:
    if complaint is None:
        assert mapped(mapper(VIEWS), view("a") | changes) == []
        return
    with pytest.raises(MappingError, match=complaint) as caught:
        mapped(mapper(VIEWS), view("a") | changes)
    assert caught.value.reason in {"time", "id", "items", "item_id", "features", "item_features"}  # metrics have them as labels


@pytest.mark.parametrize("worth", [-1, "9.5", True, 2**53])
def test_a_click_is_worth_what_a_click_can_be_worth(worth: object) -> None:
    event = {"type": "click", "page": "p", "sku": "a", "at": NOW, "worth": worth}

    assert "field '/worth'" in refused(mapper(VIEWS, CLICKS), event)


@pytest.mark.parametrize(
    "value", [None, b"", b"\xff", b"[]", b"{", b"[" * 100_000, b'{"a": NaN}', b'{"at": "\\ud800"}', b"{}" + b" " * 1_000_000]
)
def test_what_is_no_object_of_json_is_refused(value: bytes | None) -> None:
    with pytest.raises(BadRecordError, match=r"field 'record': got .*, expected a JSON object"):
        mapper(VIEWS).map(value)


@pytest.mark.parametrize(
    ("event", "settings"),
    [
        (view(*range(MOST_ITEMS + 1)), VIEWS),
        (view(*range(MOST_ITEMS), user={"x": "y" * (2 * LARGEST_MAPPED // MOST_ITEMS)}), VIEWS),
        (view("a", user={"x": "y" * LARGEST_EVENT}), VIEWS),
        (view("a", user={"n" * 900: {f"{n}": n for n in range(9_000)}}), VIEWS),
        (view("a", user={"n" * 1_000: 1}), VIEWS),
        (view("a", user=json.loads('{"a":' * 100 + "1" + "}" * 100)), VIEWS),
    ],
    ids=["items", "bytes of all", "bytes of one", "names", "a name", "nesting"],
)
def test_what_one_event_is_mapped_to_is_bounded(event: object, settings: dict[str, Any]) -> None:
    assert ", expected " in refused(mapper(settings), event)


def test_numbers_beyond_any_bound_are_refused_and_others_are_as_they_are() -> None:
    with pytest.raises(BadRecordError, match="expected numbers in the range of a double"):
        mapper(VIEWS).map(b'{"noise": 1e400}')
    assert "field '/page/id': got '1" in refused(mapper(VIEWS), view("a", page={"id": 10**1_000, "items": [{"sku": "a"}]}))
    assert mapped(mapper(VIEWS), view("a", user=10**30))[0]["features"]["user"] == 10**30


def test_events_of_another_kind_are_passed_over_and_true_is_not_one() -> None:
    flagged = mapper(VIEWS | {"where": {"/type": "view", "/flags/shown": 1}})

    assert mapped(mapper(VIEWS, CLICKS), {"type": "cart"}) == mapped(mapper(VIEWS, CLICKS), {}) == []
    assert mapped(flagged, view("a", flags={"shown": True})) == mapped(flagged, view("a", flags="none")) == []
    assert len(mapped(flagged, view("a", flags={"shown": 1}))) == 1


def test_the_example_of_the_documentation_gives_what_it_says() -> None:
    page = (Path(__file__).parents[3] / "docs/your-site.md").read_text(encoding="utf-8")
    (written,) = [block for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL) if "[input.impressions]" in block]
    view, click = (event.replace(", …", "") for event in re.findall(r"# (\{.*\})", written))

    inputs = InputSettings.model_validate(tomllib.loads(written)["input"])
    shown, clicked = (Mapper(inputs, topic).map(event.encode()) for topic, event in (("site.views", view), ("site.clicks", click)))

    features = {"user.id": "u17", "sku": "a", "price": 9.5}
    assert [json.loads(each.value) for each in shown] == [{"impression_id": "v17/a", "time": NOW, "features": features}]
    assert [each.impression_id for each in clicked] == ["v17/a"]
