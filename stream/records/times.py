"""Times in records: whole epoch milliseconds, up to the last day of the year 9999.

So micro- or nanoseconds are refused, not read as a far future that closes every window; and what is refused is told what it looks like.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeAlias

from msgspec import Meta

LATEST_TIME = 253_402_300_799_999
Time: TypeAlias = Annotated[int, Meta(ge=0, le=LATEST_TIME)]
TIMES = ("time", "clicked_at")  # the fields of events and examples that hold one

_SECONDS = 1e11  # a time below, with a fraction, is in seconds: of ms that would be 1973
_EPOCH = datetime.fromtimestamp(0, UTC)


def expected_time(time: float) -> str:
    """Return what was expected of a time that is no whole number, or later than any: milliseconds, and the unit that it looks like instead.

    >>> expected_time(1_790_000_000_000_000)
    'epoch milliseconds; this looks like microseconds'
    >>> expected_time(2**63)
    'epoch milliseconds; this looks like nanoseconds'
    >>> expected_time(1_790_000_000.5)
    'epoch milliseconds; this looks like seconds'
    """
    if time <= LATEST_TIME:
        return "epoch milliseconds; this looks like seconds" if 0 <= time < _SECONDS else "epoch milliseconds, int"
    for unit, of_a_millisecond in (("microseconds", 1_000), ("nanoseconds", 1_000_000)):
        if time <= LATEST_TIME * of_a_millisecond:
            return f"epoch milliseconds; this looks like {unit}"
    return f"epoch milliseconds, int <= {LATEST_TIME}"


def in_utc(time: int) -> str:
    """Return a time for people to read.

    >>> in_utc(1_790_000_000_000)
    '2026-09-21 14:13:20 UTC'
    """
    return f"{datetime.fromtimestamp(time / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def ms_of(moment: datetime) -> int:
    """Return the epoch millisecond in which a moment lies, UTC unless it says otherwise: what is finer is cut, here and in every file.

    >>> ms_of(datetime(1970, 1, 1, 0, 0, 1, 999_999))
    1999
    """
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - _EPOCH) // timedelta(milliseconds=1)
