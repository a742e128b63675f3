"""A recorded log may be several files, a folder, a pattern or standard input, in any encoding."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from stream.files.columns import read_blocks
from stream.files.opened import FileError, Recorded
from stream.files.rows import read
from stream.settings import DataSettings

DATA = DataSettings()
SHOW = """
import sys
from pathlib import Path
from stream.files.rows import read
from stream.settings import DataSettings
for _ in range(2):  # it can be read again
    print([(row.label, row.features) for row in read(Path("-"), DataSettings())])
"""


@pytest.fixture
def days(tmp_path: Path) -> Path:
    for day, users in (("2026-11-01", ["a", "b"]), ("2026-11-02", ["c"])):
        folder = tmp_path / "days" / f"dt={day}" / "country=s%C3%A3o"
        folder.mkdir(parents=True)
        parquet.write_table(pa.table({"click": [1] * len(users), "user": users}), folder / "part-0.parquet")
        (folder / "_SUCCESS").touch()
        (folder / ".part-0.parquet.crc").write_bytes(b"x")
    return tmp_path / "days"


def users(recorded: Recorded, data: DataSettings = DATA) -> list[tuple[int, object]]:
    """Return the number and the user of each row."""
    return [(row.number, row.features["user"]) for row in read(recorded, data)]


def test_a_folder_is_read_in_the_order_of_its_names_with_what_they_say(days: Path) -> None:
    rows = list(read(days, DataSettings(time="dt")))

    assert [(row.number, row.features) for row in rows] == [(n, {"country": "são", "user": user}) for n, user in enumerate("abc", 1)]
    assert [row.time for row in rows] == [1_793_491_200_000] * 2 + [1_793_577_600_000]


def test_what_the_names_of_folders_say_is_the_same_in_columns(days: Path) -> None:
    data = DataSettings(time="dt", together=("dt",))
    rows, blocks = list(read(days, data)), list(read_blocks(days, data, ["user", "country"]))

    assert all(isinstance(block.features, dict) for block in blocks)
    assert [time for block in blocks for time in block.times] == [row.time for row in rows]
    assert [page for block in blocks for page in block.pages] == [row.page for row in rows]
    assert [block.features["country"].values for block in blocks if isinstance(block.features, dict)] == [["são"]] * 2


def test_several_files_and_patterns_are_read_one_after_the_other(days: Path, tmp_path: Path) -> None:
    last = tmp_path / "last.csv"
    last.write_text("click,user\n0,d\n")

    assert users([days, last]) == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
    assert users([days / "dt=*-02", last]) == [(1, "c"), (2, "d")]
    assert users(days / "**" / "*.parquet") == [(1, "a"), (2, "b"), (3, "c")]


def test_a_row_is_named_by_its_number_in_its_file(days: Path, tmp_path: Path) -> None:
    last = tmp_path / "last.csv"
    last.write_text("click,user\n0,d\n7,e\n")

    with pytest.raises(FileError, match=r"last\.csv: row 2, column 'click': got '7'"):
        users([days, last])


@pytest.mark.parametrize("name", ["nothing-*.csv", "empty"])
def test_no_file_at_all_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(FileError, match="got no file, expected one at least"):
        users(tmp_path / name)


def test_a_file_whose_name_is_a_pattern_is_that_file(tmp_path: Path) -> None:
    path = tmp_path / "log[1].csv"
    path.write_text("click,user\n0,a\n")

    assert users(path) == [(1, "a")]


@pytest.mark.parametrize(
    ("written", "told"), [("utf-16", None), ("utf-16-le", "utf-16-le"), ("latin-1", "latin-1"), ("cp1252", "windows-1252"), ("utf-8", None)]
)
@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_a_text_is_read_in_its_encoding(tmp_path: Path, written: str, told: str | None, name: str) -> None:
    path = tmp_path / name
    text = "click,user\n1,José\n" * 1 if name == "log.csv" else '{"click": 1, "user": "José"}\n'
    path.write_bytes(text.encode(written))

    assert users(path, DataSettings(encoding=told)) == [(1, "José")]


def test_another_encoding_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes("click,user\n1,José\n".encode("latin-1"))

    with pytest.raises(
        FileError, match=r"got b'\\xe9', which is not utf-8 \(\[data\] encoding, --encoding, names another, such as latin-1\)"
    ):
        users(path)


def test_an_archive_of_several_files_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "log.csv.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "click\n1\n")
        archive.writestr("b.csv", "click\n1\n")

    with pytest.raises(FileError, match="got an archive of 2 files, expected one"):
        users(path)


@pytest.mark.parametrize(
    "text", ["click,user\n1,a\n", 'click;user\n1;"a"\n', '{"click": 1, "user": "a"}\n', '\n [ {"click": 1, "user": "a"} ]']
)
def test_standard_input_shows_its_format_and_can_be_read_again(text: str) -> None:
    done = subprocess.run([sys.executable, "-c", SHOW], input=text, capture_output=True, text=True, check=True)

    assert done.stdout == "[(1, {'user': 'a'})]\n" * 2


def test_parquet_comes_by_standard_input_too(days: Path) -> None:
    content = next((days / "dt=2026-11-01").rglob("*.parquet")).read_bytes()
    done = subprocess.run([sys.executable, "-c", SHOW], input=content, capture_output=True, check=True)

    assert done.stdout.decode().splitlines()[0] == "[(1, {'user': 'a'}), (1, {'user': 'b'})]"
