"""A recorded log, replayed and joined, gives its own rows in its own order."""

from pathlib import Path
from typing import Any

import pytest

from stream.files.layout import Logged
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import Topics, create
from stream.records.events import Click, Example, Impression, Watermark, decode_click, decode_example, decode_impression
from stream.replay import BATCH, Events, Replay
from stream.settings import JoinSettings
from tests.stream.join.test_joiner import join, read

TOPICS = Topics("t")
SETTINGS = JoinSettings(click_window=0.010, lateness=0.003)


def logged(number: int, label: int, *, clicked_at: int | None = None) -> Logged:
    return Logged(number, 100 + number, label, {"position": number}, clicked_at)


def replay(
    folder: Path, rows: list[Logged], *, events: Events = "impressions", partitions: int = 1, stop_after: int | None = None
) -> SqliteLog:
    log = SqliteLog(f"sqlite:///{folder}/log.db")
    create(log, TOPICS, partitions)
    run = Replay(log, TOPICS, SETTINGS, events, speed=None)
    for _ in run.run(rows, lambda _: stop_after is not None and run.rows >= stop_after):
        pass
    return log


def test_rows_become_impressions_and_clicks_and_a_last_watermark(tmp_path: Path) -> None:
    with replay(tmp_path, [logged(1, 0), logged(2, 1)]) as log:
        shown = [decode_impression(record.value) for record in read(log, TOPICS.impressions)]
        clicked = [decode_click(record.value) for record in read(log, TOPICS.clicks)]

    assert shown == [Impression("1", 101, {"position": 1}), Impression("2", 102, {"position": 2}), Watermark(102 + 13)]
    assert clicked == [Click("2", 102), Watermark(102 + 13)]


def test_replayed_and_joined_rows_come_out_in_the_files_order_with_their_labels(tmp_path: Path) -> None:
    rows = [logged(number, number % 3 == 0) for number in range(1, 3 * BATCH)]

    with replay(tmp_path, rows) as log:
        join(log)
        examples = [decode_example(record.value) for record in read(log, TOPICS.examples)]

    assert [(each.impression_id, each.label) for each in examples] == [(str(row.number), row.label) for row in rows]


def test_objects_which_no_field_takes_are_left_out_and_the_rest_of_the_row_is_joined(tmp_path: Path) -> None:
    features: dict[str, Any] = {"position": 1, "tags": ["a", None, 2.5], "at": {"city": "Bern"}, "items": [{"id": 5}], "pairs": [("k", 1)]}

    with replay(tmp_path, [logged(1, 0)._replace(features=features), logged(2, 1)]) as log:
        join(log)
        examples = [decode_example(record.value) for record in read(log, TOPICS.examples)]

    assert [each.features for each in examples] == [{"position": 1, "tags": ["a", None, 2.5]}, {"position": 2}]


def test_every_partition_gets_the_last_watermark(tmp_path: Path) -> None:
    with replay(tmp_path, [logged(number, 1) for number in range(50)], partitions=3) as log:
        join(log)

        assert sum(bounds.end for bounds in log.bounds(TOPICS.examples).values()) == 50


def test_clicks_come_in_the_order_of_their_own_time(tmp_path: Path) -> None:
    with replay(tmp_path, [logged(1, 1, clicked_at=105), logged(2, 1), logged(3, 1, clicked_at=104)]) as log:
        clicked = [decode_click(record.value) for record in read(log, TOPICS.clicks)][:-1]

    assert clicked == [Click("2", 102), Click("3", 104), Click("1", 105)]


def test_rows_become_labelled_examples_if_asked(tmp_path: Path) -> None:
    with replay(tmp_path, [logged(1, 1, clicked_at=105)], events="examples") as log:
        examples = [decode_example(record.value) for record in read(log, TOPICS.examples)]

        assert examples == [Example("1", 101, {"position": 1}, 1, clicked_at=105)]
        assert log.bounds(TOPICS.impressions)[0].end == 0


def test_a_stopped_replay_writes_the_clicks_of_its_rows_and_no_last_watermark(tmp_path: Path) -> None:
    with replay(tmp_path, [logged(number, 1) for number in range(3 * BATCH)], stop_after=BATCH) as log:
        assert log.bounds(TOPICS.impressions)[0].end == log.bounds(TOPICS.clicks)[0].end == BATCH


def test_a_speed_spreads_the_rows_over_time(tmp_path: Path) -> None:
    waits: list[float] = []

    def pause(wait: float) -> bool:
        waits.append(wait)
        return False

    with SqliteLog(f"sqlite:///{tmp_path}/log.db") as log:
        create(log, TOPICS, 1)
        run = Replay(log, TOPICS, SETTINGS, "impressions", speed=2)

        batches = list(run.run([logged(number, 0)._replace(time=number * 20_000) for number in range(3)], pause))

    assert [len(batch) for batch in batches] == [1, 1, 1]
    assert [wait for wait in waits if wait] == pytest.approx([10, 20], abs=1)
