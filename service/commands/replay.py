"""``sml replay``: stream a recorded log into the topics, at a chosen speed."""

import time
from pathlib import Path
from typing import Any

from service.progress import counting
from service.settings import Settings
from service.signals import stop_signals
from stream.connect import connect
from stream.files import read
from stream.replay import Events, Replay
from stream.topics import Topics


def replay(path: Path, settings: Settings, *, events: Events = "impressions", speed: float | None = None) -> dict[str, Any]:
    """Write the rows of the file at ``path``, with progress on stderr; say what was written.

    A replay that is stopped writes no last watermark: for the joiner the stream has not ended.

    Raises:
        FileError: the file can't be read.
        LogError: the log can't be used.
    """
    start = time.perf_counter()
    with stop_signals() as stop, connect(settings.log.url, settings.log.partitioner) as log:
        run = Replay(log, Topics(settings.log.prefix), settings.join, events, speed)
        for _ in counting(run.run(read(path, settings.data), stop.wait), path.name):
            pass
    return {
        "rows": run.rows,
        "clicks": run.clicks,
        "last_time": run.last if run.rows else None,
        "in_time_order": not run.backwards,
        "rows_per_second": round(run.rows / (time.perf_counter() - start), 1),
    }
