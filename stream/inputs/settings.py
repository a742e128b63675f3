"""The settings of a site's own topics: where in their events impressions and clicks are found.

Pointers are JSON Pointers (RFC 6901): ``/user/id`` is the member ``id`` of the member ``user``.
"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field as Setting, model_validator

from stream.inputs.pointers import parse
from stream.log.settings import Section


def _check_pointer(pointer: str) -> str:
    parse(pointer)
    return pointer


Pointer = Annotated[str, AfterValidator(_check_pointer)]
Features = dict[Annotated[str, Setting(min_length=1, max_length=1_000)], Pointer]
TimeUnit = Literal["s", "ms", "us", "ns"]


class TopicSettings(Section):
    """A topic of a site, and where its events say what they are about."""

    topic: Annotated[str, Setting(pattern=r"^[A-Za-z0-9._-]+$")]
    """the site's topic, with JSON objects as values, whatever its keys"""
    where: dict[Pointer, str | int | bool] = Setting(default={})
    """which of its events count, pointer = value: { "/type" = "view" }; by default all"""
    id: Pointer
    """the pointer to the id: of the impression or, where there is an item_id, of the page"""
    item_id: Pointer | None = None
    """the pointer to what tells the items of a page apart: the impression's id is then PAGE/ITEM, with ~1 for / and ~0 for ~ in PAGE"""
    time: Pointer
    """the pointer to the time: a number in time_unit, or ISO 8601"""
    time_unit: TimeUnit = "ms"
    """s, ms, us or ns since 1970"""


class ImpressionInput(TopicSettings):
    """Where a site's topic says what was shown."""

    features: Features = Setting(default={})
    """feature = pointer; an object becomes several features: user = "/user" gives user.id, user.country, …"""
    items: Pointer | None = None
    """the pointer to an array, each element of which is an impression; item_id points into the element, by default it is its index"""
    item_features: Features = Setting(default={})
    """as features, of each element: its pointers begin there"""

    @model_validator(mode="after")
    def _items_have_features(self) -> Self:
        if self.item_features and self.items is None:
            raise ValueError("items, where item_features are given")
        if twice := self.features.keys() & self.item_features.keys():
            raise ValueError(f"features and item_features to differ in their names, got {', '.join(sorted(twice))} in both")
        return self


class ClickInput(TopicSettings):
    """Where a site's topic says what was clicked: ids as those of its impressions."""

    value: Pointer | None = None
    """the pointer to what the click was worth"""


class InputSettings(Section):
    """A site's own topics, which are joined beside PREFIX.impressions and PREFIX.clicks."""

    impressions: ImpressionInput | None = None
    """where a topic of your own says what was shown; it needs [join] rekey"""
    clicks: ClickInput | None = None
    """where a topic of your own says what was clicked"""

    @model_validator(mode="after")
    def _kinds_are_told_apart(self) -> Self:
        if self.impressions and self.clicks and self.impressions.topic == self.clicks.topic and self.impressions.where == self.clicks.where:
            raise ValueError("where to tell impressions from clicks, which are in one topic")
        return self

    @property
    def topics(self) -> tuple[str, ...]:
        """The site's topics, each once."""
        return tuple(dict.fromkeys(each.topic for each in (self.impressions, self.clicks) if each))
