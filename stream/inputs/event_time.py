"""Which event times a record's append time allows: a wrong clock harms its own events only.

The append time is set by the log, so what is decided here is a function of the log, the same in every run.
"""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from stream.log.contract import Headers, Record
from stream.records.events import BadRecordError
from stream.settings import JoinSettings

FUTURE = "sml.future"  # the header of records whose times are made up: `sml replay --future`

_YEARS = 10 * 365 * 86_400_000  # ms: a time in seconds is recognised up to so far from its append time, or from now


class FutureTimeError(BadRecordError):
    """An event is later than its record's append time allows."""

    reason = "future_time"


class TimeUnitError(BadRecordError):
    """A time is in seconds where milliseconds are expected."""

    reason = "time_unit"


class LateImpressionError(BadRecordError):
    """An impression came when its click could no longer count."""

    reason = "late_impression"


class TimeRule(NamedTuple):
    """Which event times are accepted, and how far each lets event time come."""

    clock_skew: int  # ms
    accept_future: bool = False  # of records with the header FUTURE

    @classmethod
    def of(cls, settings: JoinSettings) -> "TimeRule":
        """Return the rule that the settings ask for."""
        return cls(round(settings.clock_skew * 1000), settings.accept_future)

    @property
    def headers(self) -> Headers:
        """Return the headers of the records that we write from accepted ones."""
        return ((FUTURE, b"1"),) if self.accept_future else ()

    def observed(self, time: int, record: Record, field: str = "time") -> int:
        """Return the lesser of the event's time and its append time: no watermark may pass the present.

        Args:
            time: The event's, epoch ms.
            record: The record that holds it; its ``timestamp`` is the append time.
            field: What the record calls the time.

        Raises:
            FutureTimeError: it is later than the append time by more than ``clock_skew``.
            TimeUnitError: it is in seconds.
        """
        if self.accept_future and any(name == FUTURE for name, _ in record.headers):
            return time
        self.check(time, record.timestamp, field)
        return min(time, record.timestamp)

    def check(self, time: int, appended: int, field: str = "time") -> None:
        """Refuse a time that is impossible for an event appended at ``appended``.

        >>> TimeRule(5_000).check(1_800_000_000, 1_700_000_000)
        Traceback (most recent call last):
        ...
        stream.inputs.event_time.FutureTimeError: field 'time': got 1800000000, expected at most 5000 ms after its append time, 1700000000

        Raises:
            FutureTimeError: it is later by more than ``clock_skew``.
            TimeUnitError: it is in seconds.
        """
        if time > appended + self.clock_skew:
            raise FutureTimeError(field, time, f"at most {self.clock_skew} ms after its append time, {appended}")
        check_unit(time, appended, field)


def check_unit(time: int, now: int, field: str = "time") -> None:
    """Refuse a time that is about ``now``, epoch ms, if it is read as seconds.

    Raises:
        TimeUnitError: it is.
    """
    if abs(time * 1000 - now) < _YEARS:
        raise TimeUnitError(field, time, "epoch milliseconds; this looks like seconds")


def iso(time: int) -> str:
    """Format epoch milliseconds for people.

    >>> iso(1_790_000_000_000)
    '2026-09-21T14:13:20.000Z'
    """
    try:
        at = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=time)
    except OverflowError:
        return "beyond the year 9999"
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
