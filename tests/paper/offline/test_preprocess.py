"""A file is encoded as AutoInt's paper and code say, whatever is read at once, and in constant memory."""

import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from paper.offline import preprocess
from paper.offline.dataset import FORMATS, DataError, Dataset, split
from paper.offline.preprocess import encode
from tests.paper.offline.files import ROWS, write

LEAST = 6

MEMORY = """
import resource, sys
from pathlib import Path
from paper.offline.preprocess import encode
encode(Path(sys.argv[1]), "avazu", 2, Path(sys.argv[2]), lambda blocks, _: iter(blocks), block=1 << 18)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def encoded(path: Path, name: str, *, block: int = 1 << 20, least: int = LEAST, cache: str = "cache") -> Dataset:
    return Dataset.open(encode(path, name, least, path.parent / cache, lambda blocks, _what: iter(blocks), block))


@pytest.mark.parametrize("name", FORMATS)
def test_numbers_are_scaled_as_written_out_longhand(name: str, tmp_path: Path) -> None:
    rows = write(tmp_path / "rows", name)

    values = encoded(tmp_path / "rows", name).values

    for row, got in zip(rows, values, strict=True):
        for field, value in zip(FORMATS[name].numeric, got, strict=True):
            z = float(row[field] or 0)
            assert value == pytest.approx(math.log(z) ** 2 if z > 2 else z, rel=1e-6)


@pytest.mark.parametrize("name", FORMATS)
def test_a_category_has_its_own_row_from_the_least_count_on_and_shares_that_of_the_rare_below(name: str, tmp_path: Path) -> None:
    rows = write(tmp_path / "rows", name)
    fields = FORMATS[name].categorical
    counts = {field: Counter(row[field] for row in rows) for field in fields}

    data = encoded(tmp_path / "rows", name)

    row_of: dict[tuple[str, str], int] = {}
    for row, got in zip(rows, data.ids.tolist(), strict=True):
        for field, table_row in zip(fields, got, strict=True):
            kept = counts[field][row[field]] >= LEAST
            assert (table_row == 0) == (row[field] == "")
            if table_row:
                assert row_of.setdefault((field, row[field] if kept else "rare"), table_row) == table_row
    assert len(set(row_of.values())) == len(row_of)
    assert max(row_of.values()) < data.table
    assert any(value == "rare" for _, value in row_of)


@pytest.mark.parametrize("name", FORMATS)
def test_the_result_does_not_depend_on_what_is_read_at_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor on how many parts the counts are added up in."""
    write(tmp_path / "rows", name)
    whole = encoded(tmp_path / "rows", name)

    monkeypatch.setattr(preprocess, "_PART", 50)
    cut = encoded(tmp_path / "rows", name, block=2_000, cache="other")

    assert cut.digest == whole.digest
    for ours, theirs in zip((cut.labels, cut.values, cut.ids), (whole.labels, whole.values, whole.ids), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Ten times the rows, most of them of values that no other row has."""
    peaks = []
    for rows in (20_000, 200_000):
        path = tmp_path / f"{rows}.csv"
        form = FORMATS["avazu"]
        with path.open("w") as file:
            file.write(",".join(["id", form.label, *form.categorical]) + "\n")
            file.writelines(f"{row},{row % 2}{''.join(f',{row * 31 + column:x}' for column in range(22))}\n" for row in range(rows))
        done = subprocess.run([sys.executable, "-c", MEMORY, path, tmp_path / "cache"], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))

    assert peaks[1] < peaks[0] + 60, peaks  # MB; the longer file is 30 MB


def test_a_file_that_is_encoded_is_not_read_again(tmp_path: Path) -> None:
    write(tmp_path / "rows", "avazu")
    first = encoded(tmp_path / "rows", "avazu")

    def unread(_blocks: object, _what: str) -> None:
        pytest.fail("the file was read again")

    again = encode(tmp_path / "rows", "avazu", LEAST, tmp_path / "cache", unread)  # type: ignore[arg-type]

    assert Dataset.open(again).digest == first.digest


def test_a_file_that_was_not_encoded_to_its_end_is_encoded_anew(tmp_path: Path) -> None:
    write(tmp_path / "rows", "avazu")
    whole = encoded(tmp_path / "rows", "avazu")
    (folder,) = (tmp_path / "cache").iterdir()
    folder.rename(folder.with_suffix(".partial"))

    assert encoded(tmp_path / "rows", "avazu").digest == whole.digest


@pytest.mark.parametrize(
    ("line", "said"), [("7" + "\t" * 39, "0 or 1"), ("\t" * 39, "0 or 1"), ("0\tx" + "\t" * 38, "double"), ("0\t1", "2")]
)
def test_a_row_that_is_wrong_is_named(line: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("0" + "\t" * 39 + f"\n{line}\n")

    with pytest.raises(DataError, match=said):
        encoded(tmp_path / "rows", "criteo")


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("rows", [10, ROWS, 1_234])
def test_the_split_is_8_to_1_to_1_and_every_row_is_in_one_part(rows: int, seed: int) -> None:
    train, valid, test = split(rows, seed)

    assert (len(valid), len(test)) == (rows // 10, rows // 10)
    assert sorted([*train, *valid, *test]) == list(range(rows))
