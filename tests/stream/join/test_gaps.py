"""A joiner that was away for longer than the log keeps its records says what is gone and how to go on; what it does not need may go."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.log.contract import Log, Message
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import JoinerError, Topics, create
from stream.settings import JoinSettings
from tests.stream.join.test_joiner import SETTINGS, TOPICS, clicked, end, examples, shown


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """Open a log with the joiner's topics."""
    with SqliteLog(f"sqlite:///{tmp_path / 'log.db'}") as opened:
        create(opened, TOPICS, 1, rekey=True)
        yield opened


def forget(folder: Path, topic: str, first: int) -> None:
    """Delete the records before ``first``, as retention does."""
    with closing(sqlite3.connect(folder / "log.db")) as db:
        (number,) = db.execute("SELECT number FROM partitions WHERE topic = ?", (topic,)).fetchone()
        db.execute("DELETE FROM records WHERE place >= ? AND place < ?", (number << 40, number << 40 | first))
        db.execute("UPDATE partitions SET first = ? WHERE number = ?", (first, number))
        db.commit()


def join(log: Log, *, accept_gap: bool = False, settings: JoinSettings = SETTINGS) -> None:
    joiner = Joiner(log, TOPICS, settings, JoinerMetrics(CollectorRegistry()), accept_gap=accept_gap)
    joiner.run(lambda: False, until_caught_up=True)


def joined(log: Log) -> list[tuple[str, int]]:
    return [(each.impression_id, each.label) for each in examples(log)[0]]


def test_records_deleted_before_they_were_joined_stop_the_joiner_and_are_named(log: Log, tmp_path: Path) -> None:
    log.append([shown("a", 1)])
    join(log)
    log.append([shown("b", 2), shown("c", 1_000), clicked("c", 1_001), *end(log)])
    forget(tmp_path, TOPICS.impressions, 2)

    with pytest.raises(
        JoinerError, match=r"t\.impressions partition 0: records 1 to 1 were deleted before they were joined; `sml join --accept-gap"
    ):
        join(log)

    join(log, accept_gap=True)
    assert joined(log) == [("c", 1)]
    join(log)
    assert joined(log) == [("c", 1)]


def test_records_deleted_while_an_impression_waited_stop_the_joiner_and_are_named(log: Log, tmp_path: Path) -> None:
    log.append([shown("a", 1), shown("b", 2)])
    join(log)
    forget(tmp_path, TOPICS.impressions, 1)

    with pytest.raises(JoinerError, match="records 0 to 0 were deleted while impressions were waiting for their labels"):
        join(log)

    log.append(end(log))
    join(log, accept_gap=True)
    assert joined(log) == [("b", 0)]


def test_records_that_are_joined_and_decided_may_go(log: Log, tmp_path: Path) -> None:
    log.append([shown("a", 1), clicked("a", 2), shown("b", 20), clicked("z", 20), *end(log)])
    join(log)
    bounds = {topic: log.bounds(topic)[0].end for topic in (TOPICS.impressions, TOPICS.clicks)}
    for topic, first in bounds.items():
        forget(tmp_path, topic, first)

    log.append([shown("late", 21), shown("c", 2_000_000), clicked("c", 2_000_001)])
    log.append([message._replace(value=b'{"watermark": 3000000}') for message in end(log)])
    join(log)

    assert joined(log) == [("a", 1), ("b", 0), ("c", 1)]  # what was late before is late now


def test_records_deleted_before_they_were_copied_stop_the_joiner_and_are_named(log: Log, tmp_path: Path) -> None:
    rekeyed = JoinSettings(**(SETTINGS.model_dump() | {"rekey": True}))
    log.append([Message(TOPICS.impressions, b"other", shown("a", 1).value)])
    join(log, settings=rekeyed)
    log.append([Message(TOPICS.impressions, b"other", shown(name, 1_000).value) for name in ("b", "c")])
    forget(tmp_path, TOPICS.impressions, 2)

    with pytest.raises(JoinerError, match="records 1 to 1 were deleted before they were copied; `sml join --accept-gap"):
        join(log, settings=rekeyed)

    log.append(end(log))
    join(log, settings=rekeyed, accept_gap=True)
    assert ("c", 0) in joined(log)
    assert "b" not in dict(joined(log))


def test_a_joiner_at_work_whose_records_are_deleted_says_so(log: Log, tmp_path: Path) -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        if asked == 20:
            log.append([shown("b", 2), shown("c", 3)])
            forget(tmp_path, TOPICS.impressions, log.bounds(TOPICS.impressions)[0].end - 1)  # watermarks and heartbeats among them
        return asked > 1_000

    log.append([shown("a", 1)])

    with pytest.raises(JoinerError, match=r"records \d to \d were deleted before they were joined"):
        Joiner(log, Topics("t"), SETTINGS, JoinerMetrics(CollectorRegistry())).run(stop)
