"""``POST /v1/impressions`` and ``/v1/clicks``, for sites without a client of the log. What is accepted is stored in the log."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Annotated, Any, NamedTuple, TypeAlias

import msgspec
from fastapi import APIRouter, Depends, Request
from msgspec import Meta, Raw

from service.api.answers import Answer, BadRequestError
from service.api.cloud_events import plain
from service.api.dependencies import Body, Service, ServiceDep
from service.api.messages import MAX_FIELDS, MAX_TEXT, Accepted
from service.api.openapi import operation
from service.api.strict import check_keys
from stream.records.events import UNREADABLE, BadRecordError, Click, Impression, Watermark, decode_click, decode_impression
from stream.records.times import Time

router = APIRouter(tags=["events"])

MAX_EVENTS = 10_000
_AT_ONCE = 256  # events


class SentImpression(Impression, frozen=True, kw_only=True, omit_defaults=True):
    """An item shown to a visitor, with the features as they were then; without a time, it is shown now."""

    time: Time | datetime = msgspec.field(default_factory=int)  # type: ignore[assignment]  # as the document describes it


class SentClick(Click, frozen=True, kw_only=True, omit_defaults=True):
    """A click on an impression; without a time, it comes now."""

    time: Time | datetime = msgspec.field(default_factory=int)  # type: ignore[assignment]  # as the document describes it


Impressions: TypeAlias = SentImpression | Annotated[list[SentImpression], Meta(min_length=1, max_length=MAX_EVENTS)]
Clicks: TypeAlias = SentClick | Annotated[list[SentClick], Meta(min_length=1, max_length=MAX_EVENTS)]

PROBLEMS = {
    413: "An event is larger than the log accepts.",
    422: "The body is wrong, or a time is later than the server's clock allows; the answer says where and why. Nothing was written.",
    503: "The log is away; send the same again later.",
}
AN_IMPRESSION = {"impression_id": "i-1", "time": 1_760_000_000_000, "features": {"user_id": "u17", "item_id": "a", "price": 9.5}}
A_CLICK = {"impression_id": "i-1", "time": 1_760_000_004_000}


class _Head(msgspec.Struct):
    """What is looked at before an event is decoded."""

    time: Raw = Raw(b"")


_head = msgspec.json.Decoder(_Head).decode


class Sent(NamedTuple):
    """An event of a body."""

    prefix: str  # of the paths of its fields: nothing, or its index in the list
    event: Impression | Click
    value: bytes  # as it was sent


async def _events(body: bytes, decode: Callable[[bytes], Impression | Click | Watermark], service: Service) -> list[tuple[str, bytes]]:
    """Check one event, or a list of them, and return the impression id and the bytes of each.

    Raises:
        BadRequestError: an event is not what the topic holds, or the joiner would set it aside for its time.
    """
    events = []
    for count, event in enumerate(_decoded(body, decode, service.now()), 1):
        events.append(event)
        if count % _AT_ONCE == 0:
            await asyncio.sleep(0)  # others are answered meanwhile
    service.check_times((f"{each.prefix}time", each.event.time) for each in events)
    return [(each.event.impression_id, each.value) for each in events]


def _decoded(body: bytes, decode: Callable[[bytes], Impression | Click | Watermark], now: int) -> Iterator[Sent]:
    if not body.lstrip().startswith(b"["):
        yield _checked("", body, decode, now)
        return
    try:
        events = msgspec.json.decode(body, type=list[Raw])
    except UNREADABLE as error:
        raise BadRequestError("body", str(error)) from error
    if not 1 <= len(events) <= MAX_EVENTS:
        raise BadRequestError("body", f"expected 1 to {MAX_EVENTS} events, got {len(events)}")
    for index, event in enumerate(events):
        yield _checked(f"[{index}].", bytes(event), decode, now)


def _checked(prefix: str, value: bytes, decode: Callable[[bytes], Impression | Click | Watermark], now: int) -> Sent:
    timed = value if _says_when(value) else _timed(value, now)
    try:
        event = decode(timed)
    except BadRecordError as error:
        raise BadRequestError(prefix + error.field, str(error)) from error
    if isinstance(event, Watermark):
        raise BadRequestError(f"{prefix}impression_id", "got a watermark, expected an event")
    _check_size(prefix, value, event, _keys_of(event) if timed is value else 0)
    return Sent(prefix, event, timed)


def _says_when(value: bytes) -> bool:
    """Return whether an event says when it happened; of what can't be read, decoding says what is wrong."""
    try:
        return bytes(_head(value).time) != b""
    except UNREADABLE:
        return True


def _timed(value: bytes, now: int) -> bytes:
    """Return an event that happens now."""
    return msgspec.json.encode({"time": now, **msgspec.json.decode(value, type=dict[str, Raw])})


def _check_size(prefix: str, value: bytes, event: Impression | Click, keys: int) -> None:
    """Refuse an event that names a key twice or is nested too deeply, or whose features are too many or too long."""
    try:
        check_keys(value, keys)
    except BadRequestError as error:
        raise BadRequestError(prefix + error.field, error.reason) from error
    features = event.features if isinstance(event, Impression) else {}
    if len(features) > MAX_FIELDS:
        raise BadRequestError(f"{prefix}features", f"got {len(features):,}, expected at most {MAX_FIELDS:,}")
    for name, feature in features.items():
        texts = [name, *(feature if isinstance(feature, list) else [feature])]
        longest = max((len(text) for text in texts if isinstance(text, str)), default=0)
        if longest > MAX_TEXT:
            raise BadRequestError(f"{prefix}features.{name[:100]}", f"got {longest:,} characters, expected at most {MAX_TEXT:,}")


def _keys_of(event: Impression | Click) -> int:
    """Return how many keys an event is known to hold; 0, which is too few, where that takes a closer look."""
    if isinstance(event.source, dict | list):
        return 0
    always = 2 + (event.source is not None)
    if isinstance(event, Click):
        return always + (event.value is not None)
    return always + 1 + len(event.features) if event.served is None else 0


def _operation(reads: Any, example: dict[str, Any]) -> dict[str, Any]:
    return operation(Accepted, status=202, reads=reads, examples={"one": example, "a list": [example]}, problems=PROBLEMS)


async def _body_of_events(body: Body, request: Request) -> bytes:
    return plain(body, request.headers)


Events = Annotated[bytes, Depends(_body_of_events)]


@router.post("/v1/impressions", **_operation(Impressions, AN_IMPRESSION))
async def impressions(body: Events, service: ServiceDep) -> Answer:
    """Log what was shown, with the features of that moment: one impression, or a list. CloudEvents are taken in each of their modes."""
    events = await _events(body, decode_impression, service)
    await service.append(service.topics.impressions, events)
    return Answer(Accepted(len(events)), 202)


@router.post("/v1/clicks", **_operation(Clicks, A_CLICK))
async def clicks(body: Events, service: ServiceDep) -> Answer:
    """Log which impressions were clicked: one click, or a list. CloudEvents are taken in each of their modes."""
    events = await _events(body, decode_click, service)
    await service.append(service.topics.clicks, events)
    return Answer(Accepted(len(events)), 202)
