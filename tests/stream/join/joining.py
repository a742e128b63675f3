"""Two recorded streams and a join that is fed from them in any order: what the tests of the join share."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from hypothesis import strategies as st

from stream.join.matching.input_state import ResumePoint
from stream.join.matching.window import Join
from stream.log.contract import Partitioner, Record
from stream.log.message import partition_of
from stream.records.events import Click, Example, Impression, Watermark, encode

WINDOW, LATENESS = 10, 3
END = Watermark(10_000)

ImpressionEvent: TypeAlias = Impression | Watermark | str  # a string: the tombstone of that id
ClickEvent: TypeAlias = Click | Watermark
Make: TypeAlias = Callable[[ResumePoint, ResumePoint], Join]
Appended: TypeAlias = tuple[Sequence[int], Sequence[int]]

ids = st.sampled_from("abcd")
kinds = st.sampled_from(["event", "event", "event", "event", "watermark", "tombstone"])
moments = st.lists(st.tuples(kinds, ids, st.integers(0, 6), st.sampled_from([0, 0, 0, -3, -8, -16, -30])), min_size=10, max_size=40)
steps = st.lists(
    st.sampled_from(["impression", "click", "impression", "click", "decide", "decide one", "restart"]), min_size=10, max_size=40
)


@st.composite
def streams(draw: st.DrawFn, kind: type[Impression] | type[Click]) -> list[Any]:
    """Draw a stream whose time goes on, but whose records are now and then late."""
    now = 0
    stream: list[Any] = []
    for what, name, ahead, late in draw(moments):
        now += ahead
        time = max(0, now + late)
        if what == "watermark":
            stream.append(Watermark(time))
        elif kind is Click:
            stream.append(Click(name, time))
        else:
            stream.append(name if what == "tombstone" else Impression(name, time, {}))
    return stream


impression_streams, click_streams = streams(Impression), streams(Click)

delays = st.sampled_from([-2, 0, 0, 1, 5, 20, 60])  # from an event's time to its append time


@st.composite
def appended(draw: st.DrawFn, stream: Sequence[Any]) -> list[int]:
    """Draw the append times of a stream, which never go back."""
    now, times = 0, []
    for event in stream:
        now = max(now, event_time(event) + draw(delays))
        times.append(now)
    return times


def impression(name: str, time: int) -> Impression:
    return Impression(name, time, {"position": time})


def id_in(partition: int, partitions: int, name: str, partitioner: Partitioner = "murmur2") -> str:
    """Make up an id that begins with ``name`` and belongs to a partition."""
    trials = (f"{name}-{trial}" for trial in range(10_000))
    return next(trial for trial in trials if partition_of(trial.encode(), partitions, partitioner) == partition)


def window(impressions: ResumePoint, clicks: ResumePoint) -> Join:
    return Join(WINDOW, LATENESS, impressions, clicks)


class Run:
    """Feeds a join from two recorded streams, in any interleaving, and restarts it at will."""

    def __init__(
        self, impressions: Sequence[ImpressionEvent], clicks: Sequence[ClickEvent], make: Make = window, appended: Appended = ((), ())
    ) -> None:
        self.appended = appended  # the append times of each stream; empty: nothing follows from them
        self.impressions, self.clicks, self.make = impressions, clicks, make
        self.next_impression = self.next_click = 0
        self.join = make(ResumePoint(0), ResumePoint(0))
        self.examples: list[Example] = []
        self.late: list[int] = []  # the offsets of the impressions set aside

    def impression(self) -> None:
        if self.next_impression < len(self.impressions):
            self._take_impression(self.next_impression)
            self.next_impression += 1

    def click(self) -> None:
        if self.next_click < len(self.clicks):
            self._take_click(self.next_click)
            self.next_click += 1

    def take(self, steps: Sequence[str]) -> None:
        for step in steps:
            match step:
                case "decide one":
                    self.decide(1)
                case "decide":
                    self.decide()
                case "restart":
                    self.restart()
                case "impression":
                    self.impression()
                case _:
                    self.click()

    def decide(self, limit: int = 1_000) -> None:
        self.examples += self.join.take_ready(limit)
        self._write_late()

    def _write_late(self) -> None:
        self.late += [record.offset for record, _ in self.join.take_late_impressions()]

    def restart(self) -> None:
        self._write_late()  # they are in the transaction of whatever was read
        points = self.join.resume_points(self.next_impression, self.next_click)
        self.join = self.make(*points)
        for offset in range(points[0].rewind, self.next_impression):
            self._take_impression(offset)
        for offset in range(points[1].rewind, self.next_click):
            self._take_click(offset)
        self.join.resume()

    def finish(self) -> list[Example]:
        for _ in self.impressions:
            self.impression()
        for _ in self.clicks:
            self.click()
        self.decide()
        return self.examples

    def _take_impression(self, offset: int) -> None:
        event = self.impressions[offset]
        if isinstance(event, str):
            self.join.forget(offset, event)
        else:
            self.join.add_impression(*self._record(0, offset, event))

    def _take_click(self, offset: int) -> None:
        self.join.add_click(*self._record(1, offset, self.clicks[offset]))

    def _record(self, stream: int, offset: int, event: Any) -> tuple[Record, Any, int]:
        time, times = event_time(event), self.appended[stream]
        appended = times[offset] if times else 0
        return Record("any", 0, offset, appended, None, encode(event)), event, min(time, appended) if times else time


def event_time(record: ImpressionEvent | ClickEvent) -> int:
    if isinstance(record, str):
        return -1
    return record.watermark if isinstance(record, Watermark) else record.time


def seen(stream: Sequence[ImpressionEvent | ClickEvent]) -> int:
    return max(map(event_time, stream), default=-1)
