"""``sml replay``: write a recorded log into the topics, at a chosen speed."""

import time
from collections.abc import Iterator
from typing import Any

from service.log_and_topics import log_with_topics
from service.screen import counting, say, say_notes
from service.settings import Settings
from service.signals import stop_signals
from stream.files.in_order import in_order, is_in_order
from stream.files.left_out import LeftOut
from stream.files.opened import Recorded, name_of
from stream.files.rows import read
from stream.inputs.event_time import iso
from stream.replay import Events, Replay


def replay(
    recorded: Recorded, settings: Settings, *, events: Events = "impressions", speed: float | None = None, future: bool = False
) -> dict[str, Any]:
    """Write the rows of a recorded log, with progress and notes on stderr, and return what was written.

    Impressions are written by their times: the joiner takes one that comes after its window for late. Examples keep the log's order.
    A replay that is stopped writes no final watermark: to the joiner, the stream has not ended.

    Raises:
        FileError: the log can't be read.
        FutureRowError: a time is in the future, without ``future``.
        LogError: the log can't be used.
    """
    start = time.perf_counter()
    if future:
        say("note: with --future, joiner and learner accept these records only under `[join] accept_future = true`")
    left_out = LeftOut(settings.data.max_bad)
    with stop_signals() as stop, log_with_topics(settings) as log:
        rows = read(recorded, settings.data, left_out)
        is_sorted = events == "impressions" and not is_in_order(recorded, settings.data)
        if is_sorted:
            say("note: the rows are not in the order of time, and are written in it; `sml replay --as examples` keeps theirs")
            rows = in_order(rows)
        run = Replay(log, settings.topics, settings.join, events, speed, future=future)
        for _ in counting(run.run(rows, stop.wait), name_of(recorded)):
            pass
    say_notes((*left_out.notes(), *_notes(run)))
    return {
        "rows": run.rows,
        "clicks": run.clicks,
        "last_time": run.last if run.rows else None,
        "sorted": is_sorted,
        **left_out.counts(),
        "rows_per_second": round(run.rows / (time.perf_counter() - start), 1),
    }


def _notes(run: Replay) -> Iterator[str]:
    """Yield how the joiner will treat the rows, if not as the log has them, and what of them was not written."""
    if run.object_columns:
        yield f"no field takes objects, so those in {', '.join(map(repr, sorted(run.object_columns)))} were not written"
    if run.undecided_from is not None:
        yield f"clicks may yet come for the rows after {iso(run.undecided_from)}: the joiner decides them as their click windows end"
