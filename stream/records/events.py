"""The records of the topics, as structs: checked when read, and set aside with a reason when they don't fit.

Whatever the bytes, decoding returns a struct or raises :class:`BadRecordError`, nothing else.
A record that decodes can be encoded again. Times are epoch milliseconds; records may have them as ISO 8601, too, at some cost in speed.
``gc=False``: many structs wait at once and are in no cycle; the garbage collector's walks over them would take two thirds of the
joiner's time.
"""

import reprlib
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal, Self, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct

from model.encoding.keys import Value
from stream.records.decode_errors import fault_of
from stream.records.times import TIMES, Time, ms_of

Feature: TypeAlias = Value
Id: TypeAlias = Annotated[str, Meta(min_length=1, max_length=1_000)]
LARGEST_COUNT = 2**53  # of anything; whole numbers up to it are the same in every language
Count: TypeAlias = Annotated[int, Meta(ge=0, le=LARGEST_COUNT)]
ClickValue: TypeAlias = Annotated[float, Meta(ge=0, lt=LARGEST_COUNT)]  # in any currency; the bound is what larger numbers round to

# Bytes, for a log that takes 1,000,000. JSON that is encoded again may be 3.8 times as long: ``1e15,`` becomes ``1000000000000000.0,``.
LARGEST_EVENT = 250_000
LARGEST_RECORD = 1_000_000  # bytes of an example or a version: a log may take more, but nobody needs to


class BadRecordError(ValueError):
    """A record is not of its topic's form."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(f"field {field!r}: got {reprlib.repr(value)}, expected {expected}")
        self.field, self.value, self.expected = field, value, expected

    @property
    def reason(self) -> str:
        """Return the label that metrics count it under: the field at fault, without the name of a feature."""
        return self.field.partition(".")[0]


class Watermark(Struct, frozen=True):
    """A promise in ``impressions`` or ``clicks``: later records of its partition are older by ``lateness`` at most."""

    watermark: Time


class Served(Struct, frozen=True, omit_defaults=True, gc=False):
    """By which arm and version of the weights an impression was shown, and how that arm was chosen."""

    version: Count | None = None
    probability: Annotated[float, Meta(ge=0, le=1)] | None = None
    arm: str | None = None  # whose weights answered
    experiment: str | None = None
    propensity: Annotated[float, Meta(gt=0, le=1)] | None = None  # the share of the units that this arm answered then
    unit: str | None = None  # the key of the unit in hex, the same in every experiment; None: the request named none
    assigned: str | None = None  # the arm that the unit belongs to, if another answered for it
    choice: Annotated[float, Meta(gt=0, le=1)] | None = None  # the chance with which the server chose it to be shown
    forced: bool = False  # somebody chose the arm by hand: not to be reported


class Impression(Struct, frozen=True, omit_defaults=True, gc=False):
    """An item shown to a visitor, with the features as they were then."""

    impression_id: Id
    time: Time
    features: dict[str, Feature]
    served: Served | None = None
    source: Any = None  # who wrote it, so that a wrong clock can be found


class Click(Struct, frozen=True, omit_defaults=True, gc=False):
    """A click on an impression."""

    impression_id: Id
    time: Time
    value: ClickValue | None = None  # what the click was worth
    source: Any = None  # who wrote it, so that a wrong clock can be found


class Example(Struct, frozen=True, omit_defaults=True, gc=False):
    """An impression whose label is decided: what the learner reads."""

    impression_id: Id
    time: Time
    features: dict[str, Feature]
    label: Literal[0, 1]
    value: ClickValue | None = None  # what the click was worth
    weight: Annotated[float, Meta(ge=0)] | None = None
    clicked_at: Time | None = None
    policy: Literal["fnw"] | None = None  # an impression is a negative at first and a positive if clicked: to be weighed
    served: Served | None = None  # if it names an arm
    late: bool = False  # the impression's second example, because its click came too late for the first


class Forget(Struct, frozen=True, omit_defaults=True):
    """A request in ``examples``: empty the row of a value, and learn nothing any more of its impressions up to a time.

    The value is named by its key alone, so the request tells nobody whom it is about.
    """

    forget: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]  # the value's key in the table, in hex
    until: Time
    by: Annotated[str, Meta(max_length=200)] | None = None  # who asked

    @classmethod
    def of(cls, key: int, until: int, by: str | None = None) -> Self:
        """Return the request for the value with this key."""
        return cls(f"{key:016x}", until, by)

    @property
    def key(self) -> int:
        """The key as a number."""
        return int(self.forget, 16)


def decode_impression(value: bytes | None) -> Impression | Watermark:
    """Decode a record of ``impressions``.

    >>> decode_impression(b'{"impression_id": "a", "time": 1, "features": {"age": 30}}').features
    {'age': 30}
    >>> decode_impression(b'{"impression_id": "a", "time": "noon", "features": {}}')
    Traceback (most recent call last):
    ...
    stream.records.events.BadRecordError: field 'time': got 'noon', expected int

    Raises:
        BadRecordError: it is neither an impression nor a watermark.
    """
    return _decode_or_watermark(_impression, Impression, value)


def decode_click(value: bytes | None) -> Click | Watermark:
    """Decode a record of ``clicks``.

    Raises:
        BadRecordError: it is neither a click nor a watermark.
    """
    return _decode_or_watermark(_click, Click, value)


def decode_example(value: bytes | None) -> Example:
    """Decode a record of ``examples``.

    Raises:
        BadRecordError: it is not an example.
    """
    return decode(_example, Example, value)


def decode_example_or_forget(value: bytes | None) -> Example | Forget:
    """Decode a record of ``examples``, which may be a request to forget.

    Raises:
        BadRecordError: it is neither.
    """
    try:
        return decode(_example, Example, value)
    except BadRecordError as error:
        if error.field != "impression_id" or b'"forget"' not in (value or b""):
            raise
        return decode(_forget, Forget, value)


encode: Callable[[Struct], bytes] = msgspec.json.Encoder().encode


_impression = msgspec.json.Decoder(Impression)
_click = msgspec.json.Decoder(Click)
_example = msgspec.json.Decoder(Example)
_forget = msgspec.json.Decoder(Forget)
_watermark = msgspec.json.Decoder(Watermark)
_moment = msgspec.json.Decoder(datetime).decode

_S = TypeVar("_S", bound=Struct)
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _decode_or_watermark(decoder: msgspec.json.Decoder[_S], kind: type[_S], value: bytes | None) -> _S | Watermark:
    if value and len(value) > LARGEST_EVENT:
        raise BadRecordError("record", f"{len(value)} bytes", f"at most {LARGEST_EVENT} bytes")
    try:
        return decode(decoder, kind, value)
    except BadRecordError as error:
        if error.field != "impression_id" or b'"watermark"' not in (value or b""):
            raise
        return decode(_watermark, Watermark, value)


def decode(decoder: msgspec.json.Decoder[_S], kind: type[_S], value: bytes | None) -> _S:
    """Decode a record of a kind.

    Raises:
        BadRecordError: it is none.
    """
    if value is None:
        raise BadRecordError("record", None, "a JSON object")
    if len(value) > LARGEST_RECORD:
        raise BadRecordError("record", f"{len(value)} bytes", f"at most {LARGEST_RECORD} bytes")
    try:
        return decoder.decode(value)
    except UNREADABLE as error:
        again = in_epoch_ms(value)
        if again is None:
            raise BadRecordError(*fault_of(kind, value, error)) from error
    return decode(decoder, kind, again)


def in_epoch_ms(value: bytes) -> bytes | None:
    """Return a record with those of its times that are ISO 8601 (UTC unless it says otherwise) in epoch ms; None: it has none.

    >>> in_epoch_ms(b'{"time": "2026-09-21T14:13:20Z", "x": 1.0}')
    b'{"time":1790000000000,"x":1.0}'
    """
    try:
        fields: dict[str, Any] = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
        written = {name: ms_of(_moment(fields[name])) for name in TIMES if bytes(fields.get(name, b""))[:1] == b'"'}
        return msgspec.json.encode(fields | written) if written else None
    except UNREADABLE:
        return None
