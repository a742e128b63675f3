"""Labels and times are read as people write them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, strategies as st
from pydantic import ValidationError

from stream.files.columns import read_blocks
from stream.files.layout import epoch_ms
from stream.files.left_out import LeftOut
from stream.files.opened import FileError
from stream.files.rows import read
from stream.records.events import Click, decode_click
from stream.settings import DataSettings

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
NOON_MS = round(NOON.timestamp() * 1000)


def written(folder: Path, text: str) -> Path:
    """Write a file."""
    path = folder / "log.csv"
    path.write_text(text)
    return path


def both_ways(path: Path, data: DataSettings) -> list[tuple[int, int]]:
    """Return the time and the label of each row, the same row by row and in columns."""
    rows = [(row.time, row.label) for row in read(path, data)]
    blocks = list(read_blocks(path, data, ()))
    assert [pair for block in blocks for pair in zip(block.times, block.labels.astype(int).tolist(), strict=True)] == rows
    return rows


@pytest.mark.parametrize(
    ("no", "yes"), [("0", "1"), ("-1", "1"), ("no", "Yes"), ("FALSE", "true"), ("f", "t"), ("N", "Y"), ("0.0", "1.0"), ("-1", "+1")]
)
def test_a_label_says_yes_or_no(tmp_path: Path, no: str, yes: str) -> None:
    if yes == "+1":
        with pytest.raises(FileError, match="expected 0 or 1, -1 or 1, yes or no, true or false"):
            both_ways(written(tmp_path, f"click\n{no}\n{yes}\n"), DataSettings())
    else:
        assert both_ways(written(tmp_path, f"click\n{no}\n{yes}\n"), DataSettings()) == [(1, 0), (2, 1)]


@pytest.mark.parametrize(("positive", "labels"), [(">= 4", [0, 0, 1, 1]), ("> 4", [0, 0, 0, 1]), ("<3.5", [1, 1, 0, 0]), ("= 4", [0, 0, 1, 0]), ("!=4", [1, 1, 0, 1])])  # fmt: skip
def test_a_count_or_a_rating_is_a_click_where_it_is_told(tmp_path: Path, positive: str, labels: list[int]) -> None:
    path = written(tmp_path, "stars\n0\n3\n4.0\n5\n")

    assert [label for _, label in both_ways(path, DataSettings(label="stars", positive=positive))] == labels


@pytest.mark.parametrize(("positive", "labels"), [("= oui", [1, 0, 1]), ("!=oui", [0, 1, 0]), ("= nan", [0, 1, 0])])
def test_a_label_in_other_words_is_a_click_where_it_is_told(tmp_path: Path, positive: str, labels: list[int]) -> None:
    path = written(tmp_path, "click\noui\nnan\noui \n")

    assert [label for _, label in both_ways(path, DataSettings(positive=positive))] == labels
    with pytest.raises(FileError, match=r"got 'oui', expected 0 or 1.*--positive '= clicked', says which others are clicks"):
        both_ways(path, DataSettings())
    with pytest.raises(FileError, match="column 'bought': got None, expected a value to compare by"):
        both_ways(path, DataSettings(label="bought", positive=positive))


@pytest.mark.parametrize("positive", ["4", ">= four", "=> 4", "=", "= ", "== oui", ">= 4; import os"])
def test_what_compares_nothing_is_refused(positive: str) -> None:
    with pytest.raises(ValidationError):
        DataSettings(positive=positive)


def test_rows_without_a_label_are_left_out_and_counted(tmp_path: Path) -> None:
    left_out = LeftOut(0.001)

    rows = list(read(written(tmp_path, "click,user\n1,a\n,b\n0,c\n"), DataSettings(), left_out))

    assert [row.number for row in rows] == [1, 3]
    assert list(left_out.notes()) == ["1 of 3 rows have no label and were left out"]


@pytest.mark.parametrize(
    "value", [NOON_MS // 1000, NOON_MS, NOON_MS * 1_000, NOON_MS * 1_000_000, "2026-11-01T13:00:00+01:00", "2026-11-01 12:00:00 UTC"]
)
def test_the_unit_of_a_time_shows_in_its_size(value: object) -> None:
    assert epoch_ms(value) == epoch_ms(str(value)) == NOON_MS


@given(st.integers(0, 253_402_300_799_999_999))
def test_what_is_finer_than_a_millisecond_is_cut_in_files_and_in_events_alike(us: int) -> None:
    written = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)).isoformat()

    assert epoch_ms(written) == us // 1000
    event = decode_click(msgspec.json.encode({"impression_id": "a", "time": written}))
    assert isinstance(event, Click)
    assert event.time == us // 1000


@pytest.mark.parametrize("seconds", ["1790000000.4369", "1790000000.436", "1790000000.4360001"])
def test_seconds_with_a_fraction_are_cut_to_the_millisecond(seconds: str) -> None:
    assert epoch_ms(seconds) == epoch_ms(float(seconds)) == 1_790_000_000_436


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (DataSettings(time="ts", time_format="%d/%m/%Y %H:%M"), "click,ts\n1,01/11/2026 12:00\n"),
        (DataSettings(time="ts", time_format="%d.%m.%Y %H:%M %z"), "click,ts\n1,01.11.2026 13:00 +0100\n"),
        (DataSettings(time=("date", "hour")), "click,date,hour\n1,2026-11-01,12\n"),
        (DataSettings(time=("date", "hourmin")), "click,date,hourmin\n1,20261101,1200\n"),
        (DataSettings(time=("date", "at")), "click,date,at\n1,2026-11-01,12:00\n"),
        (DataSettings(time=("d", "m", "y", "h"), time_format="%d %m %Y %H"), "click,y,m,d,h\n1,2026,11,1,12\n"),
    ],
)
def test_a_time_is_read_as_it_is_written(tmp_path: Path, data: DataSettings, text: str) -> None:
    assert both_ways(written(tmp_path, text), data) == [(NOON_MS, 1)]


@pytest.mark.parametrize("time", ["date", ("date", "clock")])
def test_a_time_in_another_form_is_told_what_says_so(tmp_path: Path, time: str | tuple[str, str]) -> None:
    path = written(tmp_path, "click,date,clock\n1,11/01/2026,12:00 PM\n")

    with pytest.raises(FileError, match=r"--time-format, tells another form"):
        both_ways(path, DataSettings(time=time))


def test_an_early_hour_has_one_digit_and_a_quarter_past_midnight_two(tmp_path: Path) -> None:
    path = written(tmp_path, "click,date,at\n1,20261101,7\n1,20261101,730\n1,20261102,7\n")

    hours = [(time - NOON_MS) / 3_600_000 for time, _ in both_ways(path, DataSettings(time=("date", "at")))]
    assert hours == [-5, -4.5, 19]


def test_the_columns_of_the_time_are_no_features(tmp_path: Path) -> None:
    path = written(tmp_path, "click,date,hour,user\n1,2026-11-01,12,a\n")

    assert [row.features for row in read(path, DataSettings(time=("date", "hour")))] == [{"user": "a"}]


def test_the_columns_of_a_file_without_a_header_are_given(tmp_path: Path) -> None:
    path = written(tmp_path, "1,a\n0,b\n")

    assert [(row.label, row.features) for row in read(path, DataSettings(names=("click", "user")))] == [
        (1, {"user": "a"}),
        (0, {"user": "b"}),
    ]


@pytest.mark.parametrize(("header", "delimiter"), [("click;user", ";"), ("click|user", "|"), ("click\tuser", "\t"), ("click,user", ",")])
def test_the_header_shows_the_delimiter(tmp_path: Path, header: str, delimiter: str) -> None:
    path = written(tmp_path, f"{header}\n1{delimiter}a:b\n")

    assert [row.features for row in read(path, DataSettings())] == [{"user": "a:b"}]
