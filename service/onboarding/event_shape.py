"""Infer where a site's events say what was shown and what was clicked: by their names, and by which values return in which.

What is found is a proposal: it is written to ``sml.toml``, says what should be checked, and can be changed by hand.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, islice
from typing import Any, NamedTuple, TypeAlias

import msgspec

from service.onboarding.field_kinds import words
from service.onboarding.topic_sample import TopicError, TopicSample
from stream.inputs.pointers import escape, parse
from stream.inputs.settings import ClickInput, ImpressionInput, InputSettings, TimeUnit
from stream.inputs.values import milliseconds

Leaves: TypeAlias = Mapping[str, Any]  # of an event or an item: pointer → what is there, which is no object

_MOST_LEAVES, _MOST_NESTED = 300, 8  # of one event
_MOST_FEATURES, _LONGEST_POINTER = 200, 200
_NEARLY_ALL = 0.98  # of the events
_OFTEN = 0.5  # of the clicks find their page: the sample may not hold those of the others
_MOST_KINDS = 50
_RECENT = range(1_000_000_000_000, 4_000_000_000_000)  # epoch ms, 2001 to 2096

_KINDS = re.compile("type|kind|event|action")
_SHOWN = re.compile("view|impression|show|display|render|page")
_CLICKED = re.compile("click|tap|select")
_TIMES = re.compile("time|ts|timestamp|at|when|date")
_IDS = re.compile("id|ids|uid|uuid|guid|key|sku|asin|code")
_WORTH = re.compile("value|price|revenue|amount|worth|bid|profit")


class Shape(NamedTuple):
    """What was inferred, and what somebody should know of it."""

    inputs: InputSettings
    notes: Sequence[str]


class _Match(NamedTuple):
    """How clicks name what was shown: pointers to page and item, in the view (of the item, in the item) and in the click."""

    page: str
    of_page: str
    item: str | None
    of_item: str | None
    share: float  # of the clicks whose page was found


class _Events:
    """Events of one kind, or their items."""

    def __init__(self, rows: Sequence[Leaves]) -> None:
        self.rows = rows
        self.pointers = list(dict.fromkeys(chain.from_iterable(rows)))

    def values(self, pointer: str) -> list[Any]:
        """Return what is at a pointer in each event that has something there."""
        return [row[pointer] for row in self.rows if row.get(pointer) is not None]

    @cached_property
    def everywhere(self) -> list[str]:
        """The pointers that lead to something in nearly all events."""
        return [each for each in self.pointers if len(self.values(each)) >= _NEARLY_ALL * len(self.rows)]

    @cached_property
    def times(self) -> dict[str, TimeUnit]:
        """The pointers that may lead to the time, with their units: those that are called so first."""
        found = {each: unit for each in self.everywhere if (unit := _unit(self.values(each)))}
        return dict(sorted(found.items(), key=lambda each: not _is_called(each[0], _TIMES)))

    @cached_property
    def ids(self) -> list[str]:
        """The pointers that may lead to an id: those that are called so first."""
        found = [each for each in self.everywhere if not _is_called(each, _TIMES) and all(map(_is_id, self.values(each)))]
        return sorted(found, key=lambda each: (not _is_called(each, _IDS), each.count("/")))

    @cached_property
    def items(self) -> str | None:
        """The pointer to the longest arrays of objects."""
        lengths = {each: sum(map(len, found)) for each in self.pointers if all(map(_is_items, found := self.values(each)))}
        return max(lengths, key=lambda each: lengths[each]) if any(lengths.values()) else None


def infer(views: TopicSample, clicks: TopicSample | None) -> Shape:
    """Infer the shape of page views, and of clicks in a topic of their own or in the same.

    Raises:
        TopicError: no time or no id is found.
    """
    shown_where, seen = _of_kind(views, _SHOWN)
    clicked_where, found = _of_kind(clicks or views, _CLICKED)
    goods = [[_leaves_of(item) for item in row.get(seen.items) or ()] for row in seen.rows] if seen.items else []
    has_clicks = bool(clicks or clicked_where)
    match = _match(seen, goods, found) if has_clicks else None
    pages = _match(seen, [], found) if has_clicks and not match else None
    page, (time, unit) = match.page if match else _page_id(views.topic, seen), _time(views.topic, seen)
    features = _features(seen, {page, time, *shown_where})
    given: dict[str, Any] = {"topic": views.topic, "where": shown_where, "id": page, "time": time, "time_unit": unit, "features": features}
    if goods:
        own = _features(_Events([item for of_page in goods for item in of_page]), set())
        given["items"], given["item_id"] = seen.items, match.item if match else _item_id(goods)
        given["item_features"] = {f"item.{name}" if name in features else name: pointer for name, pointer in own.items()}
    click = _click(clicks or views, clicked_where, found, match) if match else None
    inputs = InputSettings(impressions=ImpressionInput.model_validate(given), clicks=click)
    return Shape(inputs, list(_notes(views, clicks, match, pages)))


def _of_kind(sample: TopicSample, pattern: re.Pattern[str]) -> tuple[dict[str, str], _Events]:
    """Return the events whose kind is called so, and where it stands; all events if they don't say of which kind they are."""
    events = _Events([_leaves_of(event) for event in sample.events])
    for pointer in events.everywhere:
        values = events.values(pointer)
        if _is_called(pointer, _KINDS) and all(isinstance(value, str) for value in values) and 1 < len(set(values)) <= _MOST_KINDS:
            kinds = Counter(value for value in values if pattern.search(value.lower()))
            if kinds:
                kind = kinds.most_common(1)[0][0]
                return {pointer: kind}, _Events([row for row in events.rows if row.get(pointer) == kind])
    return {}, events


def _match(seen: _Events, goods: Sequence[Sequence[Leaves]], found: _Events) -> _Match | None:
    """Return the pointers by which most clicks find their page and, where it has items, their item in it; None: they don't."""
    best: _Match | None = None
    for page in (each for each in seen.ids if _all_differ(seen.values(each))):
        rows = {str(row.get(page)): n for n, row in enumerate(seen.rows)}
        for of_page in found.ids:
            pairs = [(rows[name], row) for row in found.rows if (name := str(row.get(of_page))) in rows]
            share = len(pairs) / len(found.rows)
            if share < max(_OFTEN, best.share if best else 0.0):
                continue
            item = _match_item([(goods[n], row) for n, row in pairs], found) if goods else (None, None)
            if item and (best is None or share > best.share):
                best = _Match(page, of_page, item[0], item[1], share)
    return best


def _match_item(pairs: Sequence[tuple[Sequence[Leaves], Leaves]], found: _Events) -> tuple[str, str] | None:
    """Return the pointers by which nearly all clicks find their item: in the item, and in the click."""
    pages = [items for items, _ in pairs]
    for item in (each for each in _Events([good for items in pages for good in items]).ids if _tells_apart(pages, each)):
        for of_item in found.ids:
            hits = sum(str(click.get(of_item)) in {str(good.get(item)) for good in items} for items, click in pairs)
            if hits >= _NEARLY_ALL * len(pairs):
                return item, of_item
    return None


def _page_id(topic: str, seen: _Events) -> str:
    for each in seen.ids:
        if _all_differ(seen.values(each)):
            return each
    raise TopicError(f"topic {topic!r}: got no pointer that differs from event to event, expected an id of each")


def _item_id(goods: Sequence[Sequence[Leaves]]) -> str | None:
    """Return what is called an id and tells the items of a page apart; None: their index does."""
    ids = _Events([good for items in goods for good in items]).ids
    return next((each for each in ids if _is_called(each, _IDS) and _tells_apart(goods, each)), None)


def _time(topic: str, events: _Events) -> tuple[str, TimeUnit]:
    for pointer, unit in events.times.items():
        return pointer, unit
    raise TopicError(f"topic {topic!r}: got events without a time, expected one: in seconds, ms, µs or ns, or ISO 8601")


def _click(sample: TopicSample, where: dict[str, str], found: _Events, match: _Match) -> ClickInput:
    time, unit = _time(sample.topic, found)
    worth = (each for each in found.pointers if _is_called(each, _WORTH) and all(map(_is_worth, found.values(each))))
    return ClickInput(
        topic=sample.topic, where=dict(where), id=match.of_page, item_id=match.of_item, time=time, time_unit=unit, value=next(worth, None)
    )


def _features(events: _Events, used: set[str | None]) -> dict[str, str]:
    """Return the pointers to all that may be a feature, by names made of theirs."""
    usable = (each for each in events.pointers if 1 < len(each) <= _LONGEST_POINTER and each not in used)
    found = [each for each in usable if not any(map(_has_parts, events.values(each)))]
    return {".".join(parse(pointer)): pointer for pointer in found[:_MOST_FEATURES]}


def _notes(views: TopicSample, clicks: TopicSample | None, match: _Match | None, pages: _Match | None) -> Iterator[str]:
    for sample in (each for each in (views, clicks) if each and each.others):
        yield f"{sample.others:,} records of {sample.topic} hold no JSON object, and will be dead letters"
    if match:
        yield f"{match.share:.0%} of the clicks name a page of the sample"
    elif pages:
        found = f"{pages.share:.0%} of the clicks name a page of the sample by {pages.of_page}, and none of its items"
        yield f"{found}: an item's id differs from those of its page's other items, and returns in the click"
    else:
        yield "no clicks were found that name what was shown: they may come by POST /v1/clicks, or [input.clicks] may be written by hand"


def _leaves_of(event: Any) -> Leaves:
    return dict(islice(_leaves(event, "", 0), _MOST_LEAVES))


def _leaves(value: Any, pointer: str, depth: int) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield pointer, value
    elif depth < _MOST_NESTED:
        for name, inner in value.items():
            yield from _leaves(inner, f"{pointer}/{escape(name)}", depth + 1)


def _unit(values: Sequence[Any]) -> TimeUnit | None:
    """Return the unit in which all values are recent times."""
    return next((unit for unit in ("ms", "s", "us", "ns") if all(map(_is_recent(unit), values))), None)


def _is_recent(unit: TimeUnit) -> Callable[[Any], bool]:
    def is_recent(value: Any) -> bool:
        try:
            return milliseconds(value, unit) in _RECENT
        except (TypeError, ValueError, OverflowError, msgspec.ValidationError):
            return False

    return is_recent


def _is_called(pointer: str, pattern: re.Pattern[str]) -> bool:
    return pattern.fullmatch(words(pointer.rpartition("/")[2])[-1]) is not None


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _is_worth(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _is_items(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _has_parts(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(each, list | dict) for each in value)


def _all_differ(values: Sequence[Any]) -> bool:
    return len(set(map(str, values))) >= _NEARLY_ALL * len(values)


def _tells_apart(pages: Sequence[Sequence[Leaves]], pointer: str) -> bool:
    """Return whether the items of nearly every page differ there."""
    apart = sum(len({str(item.get(pointer)) for item in items}) == len(items) for items in pages)
    return apart >= _NEARLY_ALL * len(pages)
