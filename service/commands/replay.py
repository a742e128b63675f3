"""``sml replay``: write a recorded log into the topics, at a chosen speed."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from service.commands.topics import log_with_topics
from service.screen import counting, say
from service.settings import Settings
from service.signals import stop_signals
from stream.event_time import iso
from stream.files import read
from stream.log.settings import format_duration
from stream.replay import Events, Replay
from stream.settings import JoinSettings


def replay(
    path: Path, settings: Settings, *, events: Events = "impressions", speed: float | None = None, future: bool = False
) -> dict[str, Any]:
    """Write the rows of the file at ``path``, with progress and notes on stderr, and return what was written.

    A replay that is stopped writes no final watermark: to the joiner, the stream has not ended.

    Raises:
        FileError: the file can't be read.
        FutureRowError: a time is in the future, without ``future``.
        LogError: the log can't be used.
    """
    start = time.perf_counter()
    if future:
        say("note: with --future, joiner and learner accept these records only under `[join] accept_future = true`")
    with stop_signals() as stop, log_with_topics(settings) as log:
        run = Replay(log, settings.topics, settings.join, events, speed, future=future)
        for _ in counting(run.run(read(path, settings.data), stop.wait), path.name):
            pass
    for note in _notes(run, settings.join, events):
        say(f"note: {note}")
    return {
        "rows": run.rows,
        "clicks": run.clicks,
        "last_time": run.last if run.rows else None,
        "in_time_order": not run.backwards,
        "late_rows": run.late,
        "rows_per_second": round(run.rows / (time.perf_counter() - start), 1),
    }


def _notes(run: Replay, settings: JoinSettings, events: Events) -> Iterator[str]:
    """Yield how the joiner will treat the rows, if not as the file has them."""
    if events == "impressions" and run.backwards:
        reach = f"click_window + lateness ({format_duration(settings.click_window + settings.lateness)})"
        late = f"the joiner sets aside up to {run.late:,} of its {run.rows:,} rows, those more than {reach} behind a row before them"
        fine = f"the joiner puts its rows in that order, since none is more than {reach} behind a row before it"
        yield f"the file is not in the order of time: {late if run.late else fine}; `sml replay --as examples` keeps the file's order"
    if run.undecided_from is not None:
        yield f"clicks may yet come for the rows after {iso(run.undecided_from)}: the joiner decides them as their click windows end"
