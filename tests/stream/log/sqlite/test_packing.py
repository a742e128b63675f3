"""Values in an SQLite log take less room than they are long, come back as they were, and leave nothing of theirs behind."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from stream.log.contract import Message, UnknownTopicError
from stream.log.sqlite.log import SqliteLog
from stream.log.sqlite.packing import common_parts


def events(first: int, count: int) -> list[bytes]:
    features = {"country": "SE", "device": "phone", "category": "books"}
    return [
        msgspec.json.encode(
            {"impression_id": f"i-{n:08x}", "time": 1_795_897_856_878 + 37 * n, "features": features | {"user_id": f"u-{n % 977}"}}
        )
        for n in range(first, first + count)
    ]


def append(log: SqliteLog, values: Sequence[bytes | None]) -> None:
    log.append([Message("topic", b"", value) for value in values])


def read(log: SqliteLog, count: int) -> list[bytes | None]:
    reader = log.reader("topic", {0: 0})
    records = [record.value for _ in range(3) for record in reader.poll(count, 0)]
    reader.close()
    return records


def query(path: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as db, db:
        return db.execute(statement).fetchall()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def log(path: Path) -> Iterator[SqliteLog]:
    with SqliteLog(f"sqlite:///{path}") as log:
        log.create("topic", 1)
        yield log


def test_events_take_less_than_half_the_room_and_come_back_as_they_were(log: SqliteLog, path: Path) -> None:
    values = events(0, 4_000)
    for first in range(0, 4_000, 500):
        append(log, values[first : first + 500])

    assert read(log, 4_000) == values
    ((stored,),) = query(path, "SELECT sum(length(value)) FROM records WHERE (place & 0xFFFFFFFF) >= 1000")
    assert int(stored) < 0.5 * sum(map(len, values[1_000:]))


def test_a_dictionary_holds_what_most_records_share_and_nobodys_id(log: SqliteLog, path: Path) -> None:
    append(log, events(0, 1_000))
    append(log, events(1_000, 1))

    ((common,),) = query(path, "SELECT common FROM dictionaries")
    assert b'"user_id":' in common
    assert b"u-" not in common
    assert b"i-0" not in common


def test_a_dictionary_is_made_anew_when_a_partition_has_ten_times_the_records(log: SqliteLog, path: Path) -> None:
    append(log, [b"%d" % n for n in range(1_000)])  # nothing is common
    append(log, events(0, 9_000))
    append(log, events(9_000, 1_000))

    assert read(log, 11_000)[1_000:] == events(0, 10_000)
    assert query(path, "SELECT made_at, length(common) > 0 FROM dictionaries") == [(1_000, 0), (10_000, 1)]


def test_programs_that_write_in_turn_read_each_others_records(log: SqliteLog, path: Path) -> None:
    with SqliteLog(f"sqlite:///{path}") as other:
        append(log, events(0, 1_000))
        with pytest.raises(UnknownTopicError):  # takes back the dictionary that it made
            log.append([Message("topic", b"", events(1_000, 1)[0]), Message("topic", b"", b"", partition=7)])
        append(other, [b"[]", *events(1_001, 5)])
        append(log, events(1_006, 5))

        assert read(log, 2_000) == read(other, 2_000) == [*events(0, 1_000), b"[]", *events(1_001, 10)]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("sign", [b",", b"[", b'"', b'",'])
def test_values_of_nothing_but_signs_do_not_hold_up_the_log(sign: bytes) -> None:
    assert len(common_parts([sign * (4_096 // len(sign))] * 2_000)) <= 4_096


def test_a_value_that_is_damaged_is_read_as_it_is_stored(log: SqliteLog, path: Path) -> None:
    append(log, events(0, 1_000))
    append(log, events(1_000, 3))
    query(path, "UPDATE records SET value = x'00ff' WHERE (place & 0xFFFFFFFF) = 1001")

    assert read(log, 2_000)[1_000:] == [*events(1_000, 1), b"\x00\xff", *events(1_002, 1)]


def test_a_dictionary_that_is_gone_ends_neither_readers_nor_the_writer(log: SqliteLog, path: Path) -> None:
    append(log, events(0, 1_000))
    append(log, events(1_000, 3))
    query(path, "DELETE FROM dictionaries")

    assert len(read(log, 2_000)) == 1_003
    append(log, events(1_003, 1))
    assert read(log, 2_000)[-1:] == events(1_003, 1)


VALUES = st.one_of(
    st.none(), st.binary(max_size=300), st.integers(0, 5_000).map(bytes), st.integers(0, 9_999).map(lambda n: events(n, 1)[0])
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.lists(VALUES, min_size=1, max_size=20))
def test_whatever_is_appended_comes_back(log: SqliteLog, values: list[bytes | None]) -> None:
    if log.bounds("topic")[0].end == 0:
        append(log, events(0, 1_000))
    end = log.bounds("topic")[0].end

    append(log, values)

    reader = log.reader("topic", {0: end})
    assert [record.value for record in reader.poll(100, 0)] == values
    reader.close()
