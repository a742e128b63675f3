"""What is committed beside an offset, as text and back. It is an input like any other: what can't be right is not believed.

A digest over offset and text finds damage. Whoever may commit under the joiner's name can write a digest, too: that right is its alone.
"""

import time
from typing import TypeVar

import msgspec
from msgspec import Struct
from xxhash import xxh3_64_hexdigest

from stream.inputs.event_time import TimeRule
from stream.log.contract import Bounds, Progress
from stream.log.topics import JoinerError

_DIGEST = ',"digest":"'  # begins the last entry of the text; progress of earlier versions has none
AFRESH = "`sml join --from-now --until-caught-up`, once, leaves behind what the topics hold and begins anew"
_DAY = 86_400_000  # ms: our clock may be wrong, too
_SHOWN = 200  # characters of the text in an error

Point = TypeVar("Point", bound=Struct)


def progress(offset: int, point: Struct) -> Progress:
    """Return what to commit: an offset with what a restart must know beside it."""
    text = msgspec.json.encode(point).decode()
    return Progress(offset, f'{text[:-1]}{_DIGEST}{_digest(offset, text)}"}}')


def read_progress(where: str, known: Progress, bounds: Bounds, kind: type[Point]) -> Point:
    """Return what was committed beside an offset.

    Args:
        where: The topic and partition, for errors.
        known: What was committed.
        bounds: The bounds of that partition.
        kind: What is expected beside the offset.

    Raises:
        JoinerError: it is no such thing, is not as it was committed, or the partition can't hold the offset.
    """
    try:
        point = msgspec.json.decode(known.metadata, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise JoinerError(
            f"{where}: expected the joiner's resume point beside its offset, got {known.metadata[:_SHOWN]!r} ({error}); {AFRESH}"
        ) from error
    text, found, digest = known.metadata.rpartition(_DIGEST)
    if found and digest != f'{_digest(known.offset, text + "}")}"}}':
        raise not_as_committed(where, known, "a digest that fits")
    if known.offset > bounds.end:
        raise JoinerError(
            f"{where}: read up to offset {known.offset}, but the log ends at {bounds.end}; is it another log, or an older copy?"
        )
    if known.offset < 0:
        raise not_as_committed(where, known, "an offset from 0 on")
    return point


def check_time(where: str, come: int, rule: TimeRule) -> None:
    """Refuse progress that has come to a time in the future.

    Raises:
        JoinerError: it has, and made-up times are not accepted.
    """
    if come > int(time.time() * 1000) + _DAY and not rule.accept_future:
        raise JoinerError(f"{where} has come as far as {come}, expected at most the present: nothing would be in time. {AFRESH}")


def not_as_committed(where: str, known: Progress, expected: str) -> JoinerError:
    """Return the error for progress that no joiner has committed so."""
    return JoinerError(f"{where}: offset {known.offset} with {known.metadata[:_SHOWN]!r} beside it, expected {expected}; {AFRESH}")


def _digest(offset: int, text: str) -> str:
    return xxh3_64_hexdigest(f"{offset} {text}".encode())
