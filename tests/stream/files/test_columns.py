"""A file has the same keys, labels, times, pages and errors in columns as row by row, whatever is in it."""

import csv
import gzip
import io
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st
from pyarrow import parquet

from model.encoding.features import Encoder
from model.settings import Field
from stream.files import lines, parquet as parquet_file, separated as separated_file
from stream.files.columns import LoggedBlock, read_blocks
from stream.files.opened import FileError
from stream.files.rows import read
from stream.settings import DataSettings
from tests.helpers.recorded_logs import recorded_log

FIELDS = [Field.model_validate({"name": name, "kind": kind}) for name, kind in
          (("a", "categorical"), ("b", "numeric"), ("c", "multi"), ("hour", "hour"), ("weekday", "weekday"), ("d", "categorical"),
           ("a.b", "categorical"), ("e.x.y", "numeric"))]  # fmt: skip
DATA = DataSettings(time="ts", click_time="clicked", together=("ts", "a"))
Outcome = tuple[list[Any], str | None]


def outcome(path: Path, data: DataSettings, reader: Callable[..., Any], fields: list[Field] = FIELDS) -> Outcome:
    """Read and encode a file; return what every example is, and the error."""
    found: list[Any] = []
    encoder = Encoder(fields)
    try:
        for block in reader(path, data):
            (keys, starts, _), bad = block.encoded(encoder)
            kept = [n for n in range(len(block)) if n not in bad]
            examples = [keys[starts[i * len(fields)] : starts[(i + 1) * len(fields)]].tolist() for i in range(len(kept))]
            of = dict(zip(kept, examples, strict=True)) | {n: str(error) for n, error in bad.items()}
            found += [(block.times[n], block.labels[n], page(block, n), of[n]) for n in range(len(block))]
    except FileError as error:
        return found, str(error)
    return found, None


def page(block: LoggedBlock, n: int) -> list[Any]:
    """Return what names the page of row n, so that one NaN equals another."""
    return ["NaN" if isinstance(value, float) and math.isnan(value) else value for value in block.pages[n] or ()]


def by_row(path: Path, data: DataSettings) -> Any:
    """Read a file row by row."""
    rows = read(path, data)
    while True:
        batch: list[Any] = []
        try:
            batch += islice(rows, 5)
        finally:
            if batch:
                yield LoggedBlock.of(batch)
        if not batch:
            return


def in_columns(path: Path, data: DataSettings, fields: list[Field] = FIELDS) -> Any:
    return read_blocks(path, data, [field.name for field in fields])


def check(path: Path, data: DataSettings = DATA) -> Outcome:
    """Read a file in both ways; return what both found. Rows before one that can't be read may be held back with it."""
    found, error = outcome(path, data, in_columns)
    expected, reason = outcome(path, data, by_row)
    assert error == reason
    assert found == (expected if reason is None else expected[: len(found)])
    return expected, reason


def taken_in_columns(path: Path, data: DataSettings = DATA) -> list[bool]:
    """Return which blocks were taken in columns."""
    return [isinstance(block.features, dict) for block in in_columns(path, data)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("columns")


@contextmanager
def blocks_of(size: int) -> Iterator[None]:
    """Read so many bytes of lines, or a twentieth as many rows of Parquet, in a block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BLOCK", size)
        patch.setattr(separated_file, "BLOCK", size)
        patch.setattr(lines, "_PIECE", size // 4)
        patch.setattr(parquet_file, "_ROWS", size // 20)
        yield


SIZES = st.sampled_from([1 << 20, 64])
TEXTS = st.sampled_from(
    ["", "x", "x,y", "y, x", "5", "5.0", "05", "1e3", "-0", "-0.0", "nan", "inf", "NA", "null", "true", "ä", "\ufeffz", "a b", "3.5"]
)
ODD_TEXTS = TEXTS | st.text(st.sampled_from('ab,;"\n\r\t \0\ufeff\u2028\x85ä😀'), max_size=5)
TIMES = st.sampled_from(["1650812741436", "1650812741", "1650812741.5", "2022-04-24T15:05:41Z", "2022-04-24"])
LABELS = st.sampled_from(["0", "1", "1.0", "true", "False"])


def row(labels: st.SearchStrategy[Any], times: st.SearchStrategy[Any], values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"click": labels, "ts": times, "clicked": times | st.just(""), "hour": values, **dict.fromkeys("abce", values)}
    )


def separated(rows: list[dict[str, Any]], delimiter: str, end: str, quoting: Any) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(
        text, ["a", "click", "ts", "b", "c", "clicked", "e", "hour"], delimiter=delimiter, lineterminator=end, quoting=quoting
    )
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


@settings(max_examples=50, deadline=None)
@given(
    size=SIZES,
    rows=st.lists(row(LABELS, TIMES, TEXTS) | row(LABELS | TEXTS, TIMES | TEXTS, ODD_TEXTS), max_size=12),
    delimiter=st.sampled_from(",\t"),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    mark=st.booleans(),
)
def test_separated_values_are_the_same(folder: Path, size: int, rows: Any, delimiter: str, end: str, quoting: Any, mark: bool) -> None:
    path = folder / ("log.csv" if delimiter == "," else "log.tsv")
    path.write_bytes(b"\xef\xbb\xbf" * mark + separated(rows, delimiter, end, quoting))

    with blocks_of(size):
        check(path)


@settings(max_examples=80, deadline=None)
@given(size=SIZES, lines=st.lists(st.text(st.sampled_from('01ab,,,"""\n\r\0\ufeff '), max_size=9), max_size=12), cut=st.binary(max_size=2))
def test_any_text_is_the_same_or_fails_alike(folder: Path, size: int, lines: list[str], cut: bytes) -> None:
    path = folder / "any.csv"
    path.write_bytes(("click,a,b\n" + "".join(f"1,{line}\n" for line in lines)).encode() + cut)

    with blocks_of(size):
        check(path, DataSettings())


@pytest.mark.parametrize(
    ("text", "in_columns"),
    [
        ('1,"a""b",c\n0,"","x,y"\n', True),
        ("1,a,b\r\n\r\n0,NA,\r\n", True),
        ("0,5.0,5\n1,,null", True),
        ('1,a"b,c\n', False),
        ('1,"a\nb",c\n', False),
        ("1,a,b\r0,c,d\n", False),
        ("1,a,b\n\n\n", True),
        ("1," + "x" * 131_000 + ",\n", True),
        ("1,a,b,c\n", False),
        ("1," + "x" * 131_073 + ",b\n", False),
    ],
)  # fmt: skip
def test_what_arrow_splits_otherwise_is_read_row_by_row(tmp_path: Path, text: str, in_columns: bool) -> None:
    path = tmp_path / "log.csv"
    path.write_text("click,a,b\n" + text, newline="")

    _, error = check(path, DataSettings())

    assert error or taken_in_columns(path, DataSettings()) == [in_columns]


SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | ODD_TEXTS | TIMES
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.sampled_from("ab"), SCALARS, max_size=2)
KINDS = [
    st.integers(-9, 2**54),
    st.floats(-9, 2.0**54),
    ODD_TEXTS,
    TIMES,
    st.lists(ODD_TEXTS, max_size=3),
    st.lists(st.floats(-9, 9), max_size=3),
    VALUES,
]
OBJECTS = st.sampled_from(KINDS).flatmap(lambda kind: st.lists(
    st.fixed_dictionaries({"click": st.sampled_from([0, 1, 1.0, True]), "ts": st.integers(10**9, 10**10)},
                          optional={"a": kind, "b": st.floats(-9, 9) | st.integers(-9, 9), "c": kind, "clicked": st.none() | TIMES, "e": kind}),
    max_size=12))  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(size=SIZES, rows=OBJECTS, ascii_only=st.booleans(), end=st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_json_lines_are_the_same(folder: Path, size: int, rows: list[Any], ascii_only: bool, end: str) -> None:
    path = folder / "log.jsonl"
    path.write_bytes("".join(json.dumps(row, ensure_ascii=ascii_only) + end for row in rows).encode())

    with blocks_of(size):
        check(path)


@pytest.mark.parametrize(
    ("text", "in_columns"),
    [
        ('{"click": 1, "ts": 1}\n{"ts": 2, "click": 0, "a": 5.0}\n', True),
        ('{"click": 1, "ts": 1, "a": "2022-04-24"}\n{"click": 1, "ts": 1, "a": "2022-04-24 "}', True),
        ('{"click": 1, "ts": "2022-04-24T00:00:00Z", "a": ["x", null]}\n', True),
        ('{"click": 1, "ts": 1, "a": 5}\n{"click": 1, "ts": 1, "a": "5"}', False),
        ('{"click": 1, "ts": 1, "a": 9007199254740993}\n{"click": 1, "ts": 1, "a": 0.5}', False),
        ('{"click": 1, "ts": 1, "a": 18446744073709551616}\n', False),
        ('{"click": 1, "ts": 1, "a": 1, "a": 2}\n', False),
        ('{"click": 1, "ts": 1, "a": "\\ud83d\\ude00"}\n', False),
        ('{"click": 1, "ts": 1, "a": {"b": 1}}\n', False),
        ('{"click": 1,\n"ts": 1}\n', False),
        ('{"click": 1, "ts": 1}{"click": 1, "ts": 1}\n', False),
        ('{"click": 1, "ts": 1, "e": NaN}\n', False),
        ('{"click": 1, "ts": 1, "e": "\ud83d"}\n', False),
    ],
)  # fmt: skip
def test_what_arrow_takes_for_other_json_is_read_row_by_row(tmp_path: Path, text: str, in_columns: bool) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))

    _, error = check(path)

    assert error or taken_in_columns(path) == [in_columns]


def test_blocks_whose_columns_change_are_taken_in_columns_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    values = [None, 5, 0.5, 7, "2022-04-24", "x", None, ["x"], True]
    path.write_text("".join(json.dumps({"click": 1, "ts": 1, "e": "x" * 64, "a": value}) + "\n" for value in values))

    with blocks_of(64):
        check(path)
        assert taken_in_columns(path) == [True] * len(values)


def test_lines_with_ever_other_names_are_read_row_by_row_for_their_table_would_be_too_large(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(f'{{"click": 1, "{n}": 1}}\n' for n in range(3_000)))

    assert taken_in_columns(path, DataSettings()) == [False]


def test_a_line_of_ever_other_names_is_read_row_by_row_for_a_column_takes_memory_without_rows_too(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"click": 1' + "".join(f', "{n}": 1' for n in range(10_000)) + "}\n")

    assert taken_in_columns(path, DataSettings()) == [False]


READ_BRACKETS = """
import sys
from pathlib import Path
from stream.files import lines
from stream.files.columns import read_blocks
from stream.files.opened import FileError
from stream.settings import DataSettings
lines.BLOCK, lines._PIECE = 64, 16
for path in map(Path, sys.argv[1:]):
    try:
        list(read_blocks(path, DataSettings(max_bad=0), ["user"]))
    except FileError as error:
        print(error)
"""


def test_brackets_in_brackets_end_no_process_in_columns_either(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.jsonl" for n in range(20)]
    values = ["[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000]
    cases = product(["null", '"u"', '["u"]', "[null]", "5"], ["user", "other"], values)
    for path, (before, name, value) in zip(paths, cases, strict=True):
        path.write_text(f'{{"click":1,"user":{before},"pad":"{"x" * 64}"}}\n{{"click":1,"{name}":{value}}}\n')

    done = subprocess.run([sys.executable, "-c", READ_BRACKETS, *paths], capture_output=True, text=True, check=True)

    reasons = [line.partition(": got")[0] for line in done.stdout.splitlines()]
    assert reasons == [f"{path}: row 2" for path in paths]


def test_a_file_is_read_in_columns_without_pandas_which_takes_a_second_to_load(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("a,click\nx,1\n,0\n")
    reads = f"list(read_blocks(Path({str(path)!r}), DataSettings(), ['a']))"
    program = f"import sys; from pathlib import Path; from stream.files.columns import *; print(*{reads}, 'pandas' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "LoggedBlock" in done.stdout
    assert done.stdout.split()[-1] == "False"


TYPES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "text": (pa.string(), ODD_TEXTS),
    "categories": (pa.dictionary(pa.int32(), pa.string()), TEXTS),
    "integers": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "bytes": (pa.binary(), st.binary(max_size=3)),
    "floats": (pa.float32(), st.floats(width=32)),
    "doubles": (pa.float64(), st.floats()),
    "booleans": (pa.bool_(), st.booleans()),
    "lists": (pa.list_(pa.string()), st.lists(TEXTS, max_size=3)),
    "structs": (
        pa.struct([("b", pa.int64()), ("x", pa.struct([("y", pa.float32())]))]),
        st.fixed_dictionaries(
            {"b": st.none() | st.integers(0, 9), "x": st.none() | st.fixed_dictionaries({"y": st.floats(0, 9, width=32)})}
        ),
    ),
    "times": (pa.timestamp("us"), st.datetimes(datetime(1970, 1, 1), datetime(2262, 1, 1))),  # noqa: DTZ001 - as the file has it
    "decimals": (pa.decimal128(9, 2), st.decimals(-99, 99, places=2)),
    "none": (pa.null(), st.none()),
}


@settings(max_examples=40, deadline=None)
@given(size=SIZES, data=st.data(), kinds=st.lists(st.sampled_from(sorted(TYPES)), min_size=4, max_size=4), n=st.integers(1, 9))
def test_parquet_is_the_same(folder: Path, size: int, data: st.DataObject, kinds: list[str], n: int) -> None:
    path = folder / "log.parquet"
    columns = {"click": pa.array(data.draw(st.lists(st.sampled_from([0, 1, 2]), min_size=n, max_size=n)))}
    columns["ts"] = pa.array([datetime(2022, 4, 25, 12, tzinfo=UTC)] * n)
    for name, kind in zip("abce", kinds, strict=True):
        of_type, values = TYPES[kind]
        columns[name] = pa.array(data.draw(st.lists(st.none() | values, min_size=n, max_size=n)), of_type)
    parquet.write_table(pa.table(columns), path)

    with blocks_of(size):
        check(path)


def test_values_that_no_row_of_a_block_has_are_not_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    shared = pa.DictionaryArray.from_arrays(pa.array([0, 0]), pa.array([1.5, float("inf")]))
    parquet.write_table(pa.table({"click": [1, 0], "ts": [1, 2], "a": shared, "price": pa.array([Decimal(1)] * 2)}), path)

    expected, _ = check(path)

    assert all(isinstance(of, list) for *_, of in expected)


def test_a_time_of_a_click_is_looked_at_where_there_was_a_click(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("click,ts,clicked\n0,5,never\n1,5,\n")
    assert check(path)[1] is None
    assert taken_in_columns(path) == [True]

    path.write_text("click,ts,clicked\n0,5,never\n1,5,never\n")
    assert "row 2, column 'clicked'" in str(check(path)[1])


@pytest.mark.parametrize("size", [1 << 15, 64])
@pytest.mark.parametrize("wrong", [b"1,\xff\n", b"1,2,3\n", b'1,"2', b"7,2\n"])
def test_an_error_far_into_a_file_names_the_same_row_and_line(folder: Path, size: int, wrong: bytes) -> None:
    path = folder / "long.csv.gz"
    path.write_bytes(gzip.compress(b"click,a\n" + b'0,x\n1,"a""b"\n\n1,"y\nz"\n' * 999 + b"0,x\n" * 7 + wrong + b"1,a\n" * 9))

    with blocks_of(size):
        assert check(path, DataSettings(max_bad=0))[1]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("avazu_sample.csv.gz", DataSettings(format="avazu", together=("device_ip",))),
        ("criteo_sample.tsv.gz", DataSettings(format="criteo")),
        ("kuairand_pure.csv.gz", DataSettings(time="time_ms")),
    ],
)
def test_the_recorded_logs_are_the_same_and_taken_in_columns(name: str, data: DataSettings) -> None:
    path = recorded_log(name)
    names = list(next(read(path, data)).features)
    fields = [Field.model_validate({"name": each, "kind": ("multi" if each == "tag" else "categorical")}) for each in names]
    columns = list(islice(in_columns(path, data, fields), 2))
    rows = LoggedBlock.of(list(islice(read(path, data), sum(map(len, columns)))))
    expected = rows.encoded(Encoder(fields)).features
    encoded = [block.encoded(Encoder(fields)).features for block in columns]

    assert all(isinstance(block.features, dict) for block in columns)
    assert np.array_equal(np.concatenate([each.keys for each in encoded]), expected.keys)
    assert np.array_equal(np.concatenate([np.diff(each.starts) for each in encoded]), np.diff(expected.starts))
    assert np.array_equal(np.concatenate([block.labels for block in columns]), rows.labels)
    assert [each for block in columns for each in zip(block.times, block.pages, strict=True)] == list(
        zip(rows.times, rows.pages, strict=True)
    )
