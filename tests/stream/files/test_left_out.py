"""Few rows that can't be read are left out and told; many end the reading."""

from pathlib import Path

import pytest

from stream.files.columns import read_blocks
from stream.files.left_out import LeftOut
from stream.files.opened import FileError
from stream.files.rows import read
from stream.settings import DataSettings

DATA = DataSettings(time="ts")
WRONG = {"csv": ["1,2,3,4", "1,", "7,5,x", "1,soon,x"], "jsonl": ["[]", "{", '{"click": 7, "ts": 5}', '{"click": 1}']}


def written(folder: Path, kind: str, wrong: list[str], rows: int = 4_000) -> Path:
    """Write a file with wrong rows in its middle."""
    right = "1,5,x" if kind == "csv" else '{"click": 1, "ts": 5, "user": "x"}'
    lines = [*(["click,ts,user"] if kind == "csv" else []), *[right] * (rows // 2), *wrong, *[right] * (rows // 2)]
    path = folder / f"log.{kind}"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("kind", WRONG)
def test_a_row_in_a_thousand_is_left_out_and_named(tmp_path: Path, kind: str) -> None:
    path, left_out = written(tmp_path, kind, WRONG[kind]), LeftOut(DATA.max_bad)

    rows = list(read(path, DATA, left_out))

    assert [row.number for row in rows] == [*range(1, 2_001), *range(2_005, 4_005)]
    assert left_out.counts() == {"unreadable": 4, "unlabelled": 0}
    [note] = left_out.notes()
    assert note.startswith("4 of 4,004 rows can't be read and were left out: ")
    assert all(f"row {number}" in note for number in range(2_001, 2_005))
    in_columns = LeftOut(DATA.max_bad)
    assert sum(map(len, read_blocks(path, DATA, (), in_columns))) == 4_000
    assert list(in_columns.notes()) == [note]


def test_a_ragged_line_is_named_by_its_line(tmp_path: Path) -> None:
    left_out = LeftOut(DATA.max_bad)
    list(read(written(tmp_path, "csv", ["1,2"]), DATA, left_out))

    assert "row 2001: got 2 values in line 2002, expected 3" in next(left_out.notes())


@pytest.mark.parametrize("kind", WRONG)
def test_more_end_the_reading_with_the_first_five(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path, kind, WRONG[kind] * 2)

    with pytest.raises(
        FileError, match=r"got 8 rows of 4,008 that can't be read, expected 0.1% at most \(--max-bad\); the first\n"
    ) as raised:
        list(read(path, DATA))

    told = str(raised.value).splitlines()
    assert [line.partition("row ")[2][:4] for line in told[1:]] == ["2001", "2002", "2003", "2004", "2005"]
    assert sum(1 for _ in read(path, DATA.model_copy(update={"max_bad": 0.002}))) == 4_000


def test_what_is_expected_is_told_once(tmp_path: Path) -> None:
    path = written(tmp_path, "csv", ["7,5,x", "8,5,x", "1,soon,x"] * 3)

    with pytest.raises(FileError) as raised:
        list(read(path, DATA))

    told = str(raised.value)
    assert (told.count("expected 0 or 1"), told.count("expected epoch seconds")) == (1, 1)
    assert f"{path}: row 2002, column 'click': got '8'\n" in told


def test_no_row_may_be_wrong_where_it_is_told_so(tmp_path: Path) -> None:
    path = written(tmp_path, "csv", ["1,2"])

    with pytest.raises(FileError, match="got 2 values in line 2002"):
        list(read(path, DATA.model_copy(update={"max_bad": 0.0})))
