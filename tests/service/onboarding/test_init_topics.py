"""What ``sml init`` proposes of a site's own topics is right, can be used unchanged, and says what it could not find."""

import json
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given, settings, strategies as st
from typer.testing import CliRunner

from service.cli.first_steps import init
from service.onboarding.event_shape import infer
from service.onboarding.topic_sample import TopicError, TopicSample
from service.settings import Settings, load
from stream.inputs.mapping import Mapper
from stream.inputs.pointers import escape
from stream.inputs.settings import InputSettings
from stream.log.contract import Message
from stream.log.sqlite.log import SqliteLog

NOW = 1_790_000_000_000
Init = Callable[..., Settings]


@pytest.fixture
def sml_init(tmp_path: Path) -> Init:
    """Return the command: takes the events by topic, gives the settings that it wrote."""
    app = typer.Typer()
    app.command()(init)

    def invoke(topics: dict[str, list[Any]], *options: str, complaint: str = "") -> Settings:
        url = f"sqlite:///{tmp_path}/log.db"
        with SqliteLog(url) as log:
            for topic, events in topics.items():
                log.create(topic, 2)
                values = [event if isinstance(event, bytes) else json.dumps(event).encode() for event in events]
                log.append([Message(topic, b"u%d" % (n % 7), value) for n, value in enumerate(values)])
        addresses = [f"{url}/{topic}" for topic in topics]
        done = CliRunner().invoke(app, [*addresses, *options, "-o", str(tmp_path / "sml.toml")])
        assert (done.exit_code != 0) == bool(complaint), done.output
        assert complaint in f"{done.output}{done.exception}"
        return Settings() if complaint else load(tmp_path / "sml.toml")

    return invoke


def traffic(pages: int = 300, seed: int = 0) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Make up views of ten items and clicks, which depend on the item."""
    chance = random.Random(seed)
    views, clicks = [], []
    for page in range(pages):
        skus = chance.sample(range(40), 10)
        items = [{"pos": n, "sku": f"s{sku}", "offer": {"price": sku + 0.5, "currency": "EUR"}} for n, sku in enumerate(skus)]
        user = {"id": f"u{chance.randrange(30)}", "country": chance.choice(["de", "fr"])}
        body = {"page_id": f"p{page}", "items": items, "referrers": [{"x": 1}]}
        views.append({"event_type": "page_view", "sent_at": (NOW + page * 1_000) * 1_000, "body": body, "user": user, "v": 3})
        for sku in skus:
            if chance.random() < sku / 80:
                where = {"page": f"p{page}", "item": f"s{sku}"}
                clicks.append({"event_type": "item_click", "sent_at": (NOW + page * 1_000 + 400) * 1_000, "target": where, "revenue": 0.5})
    return views, clicks


@pytest.mark.parametrize("together", [False, True], ids=["two topics", "one topic"])
def test_views_of_several_items_and_clicks_on_them_are_found_in_a_site_s_own_topics(sml_init: Init, together: bool) -> None:
    views, clicks = traffic()
    both = sorted(
        [*views, *clicks, *({"event_type": "cart", "sent_at": NOW * 1_000}, {"event_type": "cart", "sent_at": NOW * 1_000})], key=str
    )

    settings = sml_init({"site.events": both} if together else {"site.views": views, "site.clicks": clicks})

    shown, clicked = settings.input.impressions, settings.input.clicks
    assert shown
    assert clicked
    assert (shown.id, shown.items, shown.item_id, shown.time, shown.time_unit) == ("/body/page_id", "/body/items", "/sku", "/sent_at", "us")
    assert (clicked.id, clicked.item_id, clicked.time, clicked.value) == ("/target/page", "/target/item", "/sent_at", "/revenue")
    assert shown.where == ({"/event_type": "page_view"} if together else {})
    assert clicked.where == ({"/event_type": "item_click"} if together else {})
    assert shown.features == {"user.id": "/user/id", "user.country": "/user/country", "v": "/v"} | (
        {} if together else {"event_type": "/event_type"}
    )
    assert shown.item_features == {name.strip("/").replace("/", "."): name for name in ("/pos", "/sku", "/offer/price", "/offer/currency")}
    assert settings.join.rekey
    kinds = {field.name: field.kind for field in settings.field}
    assert kinds == {
        "user.id": "categorical",
        "user.country": "categorical",
        "pos": "categorical",
        "sku": "categorical",
        "offer.price": "numeric",
        "hour": "hour",
        "weekday": "weekday",
    }
    names = [each.impression_id for view in views for each in Mapper(settings.input, shown.topic).map(json.dumps(view).encode())]
    assert len(set(names)) == 10 * len(views)
    assert {
        each.impression_id for click in clicks for each in Mapper(settings.input, clicked.topic).map(json.dumps(click).encode())
    } <= set(names)


def test_plain_events_whose_ids_and_features_have_the_same_names_are_found_and_all_settings_are_written(sml_init: Init) -> None:
    views = [{"id": n, "ts": "2026-09-21T14:13:20Z", "user": f"u{n % 5}", "items": [{"user": f"s{n % 3}", "price": n}]} for n in range(50)]

    settings = sml_init({"views": [*views, b"\xff"]}, "--all")

    shown = settings.input.impressions
    assert shown
    assert (shown.id, shown.item_id, shown.time) == ("/id", None, "/ts")
    assert (shown.features, shown.item_features) == ({"user": "/user"}, {"item.user": "/user", "price": "/price"})
    assert settings.input.clicks is None


@pytest.mark.parametrize(
    ("events", "complaint"),
    [
        ([b"\xff", [1]], "topic 'views': got 2 records, expected some with JSON objects"),
        ([{"ts": NOW + n} for n in range(9)], "topic 'views': got no pointer that differs from event to event, expected an id of each"),
        ([{"id": n} for n in range(9)], "topic 'views': got events without a time, expected one"),
        ([{"id": n, "ts": NOW, "items": [{}] * 1_001} for n in range(2)], "topic 'views': got events that show nothing"),
    ],
)
def test_what_can_not_be_found_is_said(sml_init: Init, events: list[Any], complaint: str) -> None:
    sml_init({"views": events}, complaint=complaint)


def test_a_topic_that_does_not_exist_is_said_to(tmp_path: Path) -> None:
    with SqliteLog(f"sqlite:///{tmp_path}/log.db") as log, pytest.raises(TopicError, match=r"^topic 'site\.views' does not exist$"):
        TopicSample.read(log, "site.views")


def test_clicks_that_name_a_page_but_none_of_its_items_are_told_apart_from_others() -> None:
    views = [{"id": f"v{n}", "ts": NOW + n, "items": [{"sku": "a"}, {"sku": "a"}]} for n in range(50)]
    clicks = [{"page": f"v{n}", "sku": "a", "at": NOW + n} for n in range(20)]

    shape = infer(TopicSample("views", views, 0), TopicSample("clicks", clicks, 0))
    alone = infer(TopicSample("views", views, 0), None)

    assert shape.inputs.clicks is None
    assert shape.notes[0].startswith("100% of the clicks name a page of the sample by /page, and none of its items: an item's id differs")
    assert alone.notes[0].startswith("no clicks were found")


def test_topics_and_files_are_not_mixed(sml_init: Init) -> None:
    sml_init({"views": []}, "clicks.csv", complaint="expected files or topics, not both")


def test_no_name_or_value_of_an_event_ends_a_comment_or_a_text(sml_init: Init) -> None:
    hostile = 'x"]\n[log]\nurl = "kafka://evil:9092" # '
    views = [{"id": n, "ts": NOW + n, "": 1, "x" * 2_000: n % 2, hostile: f"{hostile}{n % 3}"} for n in range(50)]

    settings = sml_init({"views": views})

    assert settings.log.url.startswith("sqlite:")
    assert settings.input.impressions
    assert settings.input.impressions.features == {hostile: f"/{escape(hostile)}"}


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["id", "ts", "items", "type", "click", "", "a/b"]), inner, max_size=3)
    ),
    max_leaves=8,
)
events = st.lists(
    st.dictionaries(st.sampled_from(["id", "ts", "items", "type", "page", "value"]), json_values, max_size=5), min_size=1, max_size=5
)


@settings(max_examples=40, deadline=None)
@given(views=events, clicks=st.none() | events)
def test_whatever_the_events_are_a_proposal_can_be_used_or_it_is_said_why_there_is_none(views: list[Any], clicks: list[Any] | None) -> None:
    timed = [{"ts": NOW + n} | view | {"at": NOW, "view_id": f"v{n}"} for n, view in enumerate(views)]

    with suppress(TopicError):
        shape = infer(TopicSample("views", timed, 0), TopicSample("clicks", clicks, 0) if clicks else None)
        assert InputSettings.model_validate(shape.inputs.model_dump()) == shape.inputs
