"""The memory that the joiner comes to take is foretold by what its topics hold."""

import time
import tracemalloc
from heapq import merge
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream.inputs.event_time import TimeRule
from stream.join.dispatch import new_join, take
from stream.join.foretell import flow_of, foretold
from stream.join.matching.input_state import ResumePoint
from stream.join.matching.window import Join
from stream.log.contract import Log, Message
from stream.log.reading import read_all
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import Topics, create
from stream.records.events import Click, Impression, encode
from stream.settings import JoinSettings

TOPICS = Topics("t")
SECONDS, RATE, CLICKED = 30, 400, 5  # of event time; impressions a second, of which one in so many is clicked


def fill(log: Log, start: int) -> None:
    """Write impressions, clicks, and an impression of the year 2100."""
    shown = [Impression(f"impression-{n:09}", start + n * 1000 // RATE, {"user": f"user {n}", "age": n}) for n in range(SECONDS * RATE)]
    clicks = [Click(each.impression_id, each.time) for each in shown[::CLICKED]]
    for topic, events in ((TOPICS.impressions, shown), (TOPICS.clicks, clicks)):
        log.append([Message(topic, each.impression_id.encode(), encode(each)) for each in events])
    log.append([Message(TOPICS.impressions, b"late", encode(Impression("late", 4_102_444_800_000, {})))])


def feed(log: Log, join: Join, settings: JoinSettings, *, in_time: bool) -> None:
    """Take all that the log holds, as if it had been written as it happened if ``in_time``."""
    streams = (read_all(log, topic) for topic in (TOPICS.impressions, TOPICS.clicks))
    rule = TimeRule.of(settings)
    for n, record in enumerate(merge(*streams, key=lambda each: each.offset * (CLICKED if each.topic == TOPICS.clicks else 1))):
        if record.key != b"late":
            written = record._replace(timestamp=msgspec.json.decode(record.value or b"")["time"]) if in_time else record
            take(join, TOPICS, written, rule, None)
        if n % 500 == 0:
            join.take_ready(10**6)
    join.take_ready(10**6)


@pytest.mark.parametrize(
    ("in_time", "window", "late_clicks"), [(True, 9, "drop"), (True, 4, "learn"), (False, 9, "drop")], ids=["drop", "learn", "replayed"]
)
def test_what_is_foretold_is_within_a_fifth_of_what_the_join_comes_to_take(
    tmp_path: Path, in_time: bool, window: float, late_clicks: Any
) -> None:
    settings = JoinSettings(click_window=window, lateness=1, late_clicks=late_clicks)
    with SqliteLog(f"sqlite:///{tmp_path / 'log.db'}") as log:
        create(log, TOPICS, 1)
        fill(log, int(time.time() * 1000) if in_time else 1_000_000)

        said = foretold(flow_of(log, TOPICS, TOPICS.impressions, settings), flow_of(log, TOPICS, TOPICS.clicks, settings), settings)

        join = new_join(settings, ResumePoint(0), ResumePoint(0))
        tracemalloc.start()
        feed(log, join, settings, in_time=in_time)
        taken = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert said == pytest.approx(taken, rel=0.2)
    assert join.memory == pytest.approx(taken, rel=0.2)


def test_of_topics_that_hold_nothing_nothing_is_foretold(tmp_path: Path) -> None:
    with SqliteLog(f"sqlite:///{tmp_path / 'log.db'}") as empty:
        create(empty, TOPICS, 2)

        impressions, clicks = (flow_of(empty, TOPICS, topic, JoinSettings()) for topic in (TOPICS.impressions, TOPICS.clicks))
        assert foretold(impressions, clicks, JoinSettings()) == 0
