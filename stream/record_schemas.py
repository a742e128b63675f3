"""The JSON Schema of each topic's records, from the types by which they are decoded.

Of ``weights`` there is none, for its records are arrays; nor of ``dead-letters``: original bytes, with their reasons in headers.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from stream.arms import Traffic
from stream.records.events import Click, Example, Forget, Impression, Watermark
from stream.records.times import Time
from stream.records.version import Version
from stream.schema import json_schema

Iso = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:?\d\d)?$")]  # ISO 8601


def _as_written(kind: type[Struct], *times: str) -> type[Struct]:
    """Return the type of records whose times may be ISO 8601, too, as they are read."""
    named = {field.name: field for field in msgspec.structs.fields(kind)}
    fields: list[Any] = [
        (name, Time | Iso) if named[name].required else (name, Time | Iso | None, msgspec.field(default=None)) for name in times
    ]
    return msgspec.defstruct(kind.__name__, fields, bases=(kind,), kw_only=True, frozen=True, namespace={"__doc__": kind.__doc__})


RECORDS: Mapping[str, tuple[type[Struct], ...]] = {
    "impressions": (_as_written(Impression, "time"), Watermark),
    "clicks": (_as_written(Click, "time"), Watermark),
    "examples": (_as_written(Example, "time", "clicked_at"), Forget),
    "versions": (Version,),
    "arms": (Traffic,),
}


def schema(topic: str) -> dict[str, Any]:
    """Return the JSON Schema of the values of a topic, one of :data:`RECORDS`, named without its prefix.

    >>> schema("impressions")["title"]
    'a record of impressions'
    """
    return json_schema(f"a record of {topic}", RECORDS[topic])
