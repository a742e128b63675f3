"""A file is written whole or not at all, and an error names it."""

import os
import stat
from pathlib import Path

import pytest

from stream.whole_file import written
from tests.helpers.full_disk import full_disk


def test_a_file_takes_the_place_of_the_one_before_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")

    with written(path) as file:
        file.write(b"after")
        during = path.read_bytes()

    assert (during, path.read_bytes()) == (b"before", b"after")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("size", [1_500, 1_000_000])  # it comes to the disk when the file is closed, and while it is written
def test_where_the_disk_is_full_the_file_before_stays_nothing_is_left_and_the_error_names_it(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")

    with pytest.raises(OSError, match=rf"File too large: '{path}'"), full_disk(), written(path) as file:
        file.write(b"x" * size)

    assert {each: each.read_bytes() for each in tmp_path.iterdir()} == {path: b"before"}


def test_what_fails_for_another_reason_is_raised_as_it_is_and_leaves_nothing(tmp_path: Path) -> None:
    def half() -> None:
        with written(tmp_path / "file") as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        half()

    assert list(tmp_path.iterdir()) == []


def test_only_those_read_it_who_may(tmp_path: Path) -> None:
    for mode in (0o600, 0o666):
        with written(tmp_path / f"{mode:o}", mode):
            pass

    mask = os.umask(0)
    os.umask(mask)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("600", "666")] == [0o600 & ~mask, 0o666 & ~mask]
