"""Every format gives the same rows, as a stream, and no row is lost in silence."""

import base64
import bz2
import gzip
import io
import itertools
import json
import lzma
import math
import re
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet

from stream.files.columns import read_blocks
from stream.files.layout import BadRowError, Logged, epoch_ms
from stream.files.opened import FileError
from stream.files.rows import read
from stream.settings import DataSettings
from tests.helpers.recorded_logs import recorded_log

DATA = DataSettings(label="click", time="ts", click_time="clicked")
EXPECTED = [
    Logged(1, 1_650_812_741_436, 1, {"user": "a", "tag": "x, y"}, 1_650_812_742_000),
    Logged(2, 1_650_812_742_436, 0, {"user": "b", "tag": ""}, None),
]
CSV = 'click,ts,clicked,user,tag\n1,1650812741436,1650812742,a,"x, y"\n0,1650812742436,,b,\n'


def zipped(content: bytes) -> bytes:
    """Return an archive of one file, and of what macOS adds."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("log", content)
        file.writestr("__MACOSX/._log", b"x")
    return archive.getvalue()


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zip": zipped,
}


def parquet_bytes(columns: dict[str, list[object]]) -> bytes:
    """Write a Parquet file in memory."""
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue())


def json_lines(*rows: dict[str, object]) -> str:
    """Write one JSON object a line."""
    return "".join(json.dumps(row) + "\n" for row in rows)


OBJECTS: list[dict[str, object]] = [
    {"click": 1, "ts": 1_650_812_741_436, "clicked": 1_650_812_742, "user": "a", "tag": "x, y"},
    {"click": 0, "ts": 1_650_812_742_436, "clicked": None, "user": "b", "tag": ""},
]
CONTENTS = {
    ".csv": CSV.encode(),
    ".semicolon.csv": CSV.replace('"x, y"', "x_ y").replace(",", ";").replace("x_", "x,").encode(),
    ".json": json.dumps(OBJECTS, indent=1).encode(),
    ".tsv": CSV.replace('"x, y"', "x; y").replace(",", "\t").replace("x; y", "x, y").encode(),
    ".jsonl": json_lines(*OBJECTS).encode(),
    ".ndjson": json_lines(*OBJECTS).encode(),
    ".parquet": parquet_bytes({name: [row[name] for row in OBJECTS] for name in OBJECTS[0]}),
}


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("suffix", CONTENTS)
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str, compression: str) -> None:
    path = tmp_path / f"log{suffix}{compression}"
    path.write_bytes(COMPRESSIONS[compression](CONTENTS[suffix]))

    assert list(read(path, DATA)) == EXPECTED


NESTED: list[dict[str, object]] = [
    {"seen": {"ts": 1_650_812_741_436, "click": 1}, "user": {"id": "a", "home": {"country": "ch"}}, "item": {"tags": ["x", "y"]}, "n": 1},
    {"seen": {"ts": 1_650_812_742_436, "click": 0}, "user": {"id": "b", "home": {"country": None}}, "item": {"tags": []}, "n": 2},
]


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".jsonl", json_lines(*NESTED).encode()),
        (".json", json.dumps(NESTED).encode()),
        (".parquet", parquet_bytes({name: [row[name] for row in NESTED] for name in NESTED[0]})),
    ],
)
def test_what_an_object_or_a_struct_holds_is_a_column(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"log{suffix}"
    path.write_bytes(content)

    rows = list(read(path, DataSettings(label="seen.click", time="seen.ts")))

    assert [(row.label, row.time, row.features) for row in rows] == [
        (1, 1_650_812_741_436, {"user.id": "a", "user.home.country": "ch", "item.tags": ["x", "y"], "n": 1}),
        (0, 1_650_812_742_436, {"user.id": "b", "user.home.country": None, "item.tags": [], "n": 2}),
    ]


def test_the_format_can_be_given_where_the_name_does_not_say(tmp_path: Path) -> None:
    path = tmp_path / "log.txt.gz"
    path.write_bytes(gzip.compress(CSV.encode()))

    assert list(read(path, DATA.model_copy(update={"format": "csv"}))) == EXPECTED
    with pytest.raises(FileError, match=r"got the name 'log\.txt\.gz', expected one that ends in \.csv"):
        next(read(path, DATA))


def test_without_a_time_the_row_number_is_the_time(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("click,user\n0,a\n1,b\n")

    assert [(row.number, row.time) for row in read(path, DataSettings())] == [(1, 1), (2, 2)]


def test_a_byte_order_mark_windows_line_ends_and_empty_lines_are_no_data(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"\xef\xbb\xbfclick,user\r\n0,a\r\n\r\n1,b\r\n\r\n")

    assert [(row.label, row.features) for row in read(path, DataSettings())] == [(0, {"user": "a"}), (1, {"user": "b"})]


def test_avazu_rows_carry_their_hour_as_time(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("id,click,hour,C1,site_id\n1,0,14102100,1005,s\n2,1,14102123,1005,s\n")

    first, last = read(path, DataSettings(format="avazu"))

    assert first.time == datetime(2014, 10, 21, tzinfo=UTC).timestamp() * 1_000
    assert last.time - first.time == 23 * 3_600_000
    assert (last.label, last.features) == (1, {"id": "2", "C1": "1005", "site_id": "s"})


def test_criteo_rows_have_no_header(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    values = ["1", *map(str, range(13)), *("abcdefghijklmnopqrstuvwxyz")]
    path.write_text("\t".join(values) + "\n" + "\t".join(["0"] + [""] * 39) + "\n")

    full, empty = read(path, DataSettings(format="criteo"))

    assert (full.label, full.features["I1"], full.features["I13"], full.features["C1"], full.features["C26"]) == (1, "0", "12", "a", "z")
    assert (empty.label, set(empty.features.values()), empty.time) == (0, {""}, 2)


@pytest.mark.parametrize(
    "value",
    [
        1_650_812_741,
        "1650812741",
        1_650_812_741_000,
        "1650812741.0",
        "2022-04-24T15:05:41Z",
        "2022-04-24 15:05:41",
        "2022-04-24T17:05:41+02:00",
    ],
)
def test_times_are_epoch_seconds_milliseconds_or_iso_8601(value: object) -> None:
    assert epoch_ms(value) == 1_650_812_741_000


def test_parquet_times_decimals_and_lists_become_what_a_field_can_take(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    at = datetime(2022, 4, 25, 12, tzinfo=UTC)
    columns: dict[str, list[object]] = {"click": [True], "ts": [at], "price": [Decimal("1.50")], "tags": [["a", "b"]], "raw": [b"x"]}
    path.write_bytes(parquet_bytes(columns))

    (row,) = read(path, DataSettings(time="ts"))

    assert row == Logged(1, 1_650_888_000_000, 1, {"price": 1.5, "tags": ["a", "b"], "raw": "x"}, None)


def test_parquet_clocks_durations_and_bytes_that_are_no_text_become_what_a_field_can_take(tmp_path: Path) -> None:
    columns = {
        "click": pa.array([1, 0]),
        "clock": pa.array([3_600_000_000_000, None], pa.time64("ns")),
        "dwell": pa.array([90, None], pa.duration("s")),
        "raw": pa.array([b"a\xff", "é".encode()]),
        "uuid": pa.array([b"\xfe\x00", None], pa.binary(2)),
    }
    parquet.write_table(pa.table(columns), tmp_path / "log.parquet")

    found = [row.features for row in read(tmp_path / "log.parquet", DataSettings())]

    assert found == [
        {"clock": 3_600_000, "dwell": 90_000, "raw": "a\\xff", "uuid": "\\xfe\x00"},
        {"clock": None, "dwell": None, "raw": "é", "uuid": None},
    ]
    [block] = read_blocks(tmp_path / "log.parquet", DataSettings(), ["clock", "dwell", "raw", "uuid"])
    assert isinstance(block.features, dict)
    assert {name: [column.values[index] for index in column.indices] for name, column in block.features.items()} == {
        name: [row[name] for row in found] for name in found[0]
    }


def test_empty_lines_before_the_header_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("\n\nclick,a\n1,x\n")

    [row] = read(tmp_path / "log.csv", DataSettings())

    assert (row.label, row.features) == (1, {"a": "x"})


@pytest.mark.parametrize("text", ['{"click": 1, "x": NaN, "y": -Infinity}\n', '[{"click": 1, "x": NaN, "y": -Infinity}]'])
def test_what_python_writes_of_numbers_that_are_none_is_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "log.json").write_text(text)

    [row] = read(tmp_path / "log.json", DataSettings())

    assert math.isnan(row.features.pop("x"))  # type: ignore[arg-type]
    assert row.features == {"y": -math.inf}


@pytest.mark.parametrize(
    ("text", "row", "column", "complaint"),
    [
        ("click,ts\n1,5\n7,5\n", 2, "click", "got '7', expected 0 or 1"),
        ("click,ts\n1,5\n0,5\n-1,5\n", 3, "click", "got '-1', expected 0 or 1"),
        ("clik,ts\n1,5\n", 1, "click", "got None, expected 0 or 1"),
        ("click,ts\n1,soon\n", 1, "ts", "got 'soon', expected epoch seconds, ms, µs or ns, or ISO 8601"),
        ("click,ts\n1,\n", 1, "ts", "got '', expected epoch seconds"),
        ("click,ts\n1,-5\n", 1, "ts", "got '-5', expected epoch seconds"),
        ("click,ts\n1,nan\n", 1, "ts", "got 'nan', expected epoch seconds"),
        ("click,ts\n1,1e300\n", 1, "ts", "got '1e300', expected epoch seconds"),
        ("click,ts,clicked\n1,5,never\n", 1, "clicked", "got 'never', expected epoch seconds"),
    ],
)
def test_a_wrong_label_or_time_names_its_row_and_column(tmp_path: Path, text: str, row: int, column: str, complaint: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text)

    with pytest.raises(BadRowError, match=re.escape(f"{path}: row {row}, column '{column}': {complaint}")) as error:
        list(read(path, DATA))

    assert (error.value.row, error.value.column) == (row, column)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("log.csv", b"click,a\n1,2\n1,2,3\n", "got 3 values in line 3, expected 2"),
        ("log.csv", b'click,a\n1,2\n1,"2\n', "after row 1, expected csv"),
        ("log.csv", b"click,a\n1,2\n1,\xff\n", "expected csv"),
        ("log.csv", b"click,click\n1,2\n", "expected a header of different names"),
        ("log.csv", b"", "got nothing (expected a header, then rows)"),
        ("log.csv", b"\n\n", "got nothing (expected a header, then rows)"),
        ("log.jsonl", b'{"click": 1}\n{"click": 1\n', "row 2: got Input data was truncated, expected a JSON object"),
        ("log.jsonl", b"[1]\n", "row 1: got Expected `object`, got `int`, expected a JSON object"),
        (
            "log.jsonl",
            json.dumps({"click": 1, "a": {"b" * 999: 1}}).encode(),
            "row 1: got a name of 1,001 characters in 1 objects, expected names",
        ),
        (
            "log.jsonl",
            b'{"click": 1, "a": ' + b'{"b": ' * 17 + b"1" + b"}" * 18,
            "row 1: got a name of 35 characters in 17 objects, expected names",
        ),
        ("log.jsonl", json.dumps({"click": 1, "a" * 990: dict.fromkeys(map(str, range(2_000)))}).encode(), "row 1: got names of 250,"),
        ("log.jsonl", b'{"click": 1, "a": {"b": 1}, "a.b": 2}', "row 1: got 'a.b' twice, expected names"),
        ("log.parquet", b"no parquet", "expected parquet"),
        ("log.csv.gz", gzip.compress(CSV.encode(), mtime=0)[:-9], "expected a file to read"),
        ("log.csv.zst", zstandard.compress(CSV.encode())[:-9], "expected a file to read"),
        ("log.csv.bz2", bz2.compress(CSV.encode())[:-9], "expected csv"),
        ("log.csv.xz", lzma.compress(CSV.encode())[:-9], "expected csv"),
        ("log.csv.zip", zipped(CSV.encode())[:-9], "expected csv"),
        ("log.json", b'[{"click": 1}, {"click": 0}', "at the end of an array after row 2, expected jsonl"),
        ("log.json", b'[{"click": 1} {"click": 0}]', "at the end of an array after row 1, expected jsonl"),
        ("log.csv", b"1,5\n1,5\n", "row 1, column 'click': got None"),
        ("log.csv", b"0,0\n1,5\n", "--names gives those of a file without one"),
    ],
)
def test_a_damaged_file_is_an_error_and_not_an_end(tmp_path: Path, name: str, content: bytes, complaint: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(FileError, match=re.escape(str(path)) + ".*" + re.escape(complaint)):
        list(read(path, DataSettings()))


def xz_with_a_dictionary_of(size: int) -> bytes:
    """Pack a row into an xz file whose header claims a dictionary of 2 or 3 times a power of two bytes."""
    packed = bytearray(lzma.compress(b'{"click": 1}\n'))
    end = 12 + (packed[12] + 1) * 4 - 4  # of the block's header, after the file's; a check follows
    assert packed[14:16] == b"\x21\x01"  # LZMA2, and the one byte that tells the size
    packed[16] = next(code for code in range(40) if (2 | code & 1) << (code // 2 + 11) == size)
    packed[end : end + 4] = zlib.crc32(packed[12:end]).to_bytes(4, "little")
    return bytes(packed)


def test_an_xz_file_that_claims_a_large_dictionary_is_refused_and_one_of_xz_9_is_not(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl.xz"
    path.write_bytes(xz_with_a_dictionary_of(64 << 20))
    assert [row.label for row in read(path, DataSettings())] == [1]

    path.write_bytes(xz_with_a_dictionary_of(3 << 30))
    with pytest.raises(FileError, match="got Memory usage limit exceeded after row 0, expected jsonl"):
        list(read(path, DataSettings()))


READ_IN_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from stream.files.opened import FileError
from stream.files.rows import read
from stream.settings import DataSettings
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
try:
    list(read(Path(sys.argv[1]), DataSettings()))
except FileError as error:
    print(error)
"""


def test_a_file_for_which_there_is_no_memory_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("log", '{"click": 1}\n')
    content = bytearray(path.read_bytes())
    size_at = 30 + len("log") + 5  # after the member's header and name, and what comes before the dictionary's size
    content[size_at : size_at + 4] = (3 << 30).to_bytes(4, "little")
    path.write_bytes(content)

    done = subprocess.run([sys.executable, "-c", READ_IN_LITTLE_MEMORY, path], capture_output=True, text=True, check=True)

    assert done.stdout == f"{path}: got more than there is memory for after row 0, expected jsonl\n"


@pytest.mark.parametrize("zeros", [0, 4, 40_000])
def test_xz_streams_one_after_another_are_one_file_and_none_may_be_cut(tmp_path: Path, zeros: int) -> None:
    path = tmp_path / "log.jsonl.xz"
    content = lzma.compress(b'{"click": 1}\n' * 9_000) + bytes(zeros) + lzma.compress(b'{"click": 0}\n') + bytes(zeros)
    path.write_bytes(content)
    assert [row.label for row in read(path, DataSettings())] == [1] * 9_000 + [0]

    path.write_bytes(content[: -zeros - 9])
    with pytest.raises(FileError, match="the end of the file within an xz stream"):
        list(read(path, DataSettings()))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no-such"):
        list(read(tmp_path / "no-such.csv", DataSettings()))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_long_file_is_read_in_constant_memory(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"log{suffix}"
    row = {"click": 1, "user": "u" * 100}
    if suffix == ".parquet":
        parquet.write_table(pa.table({name: [value] * 60_000 for name, value in row.items()}), path, row_group_size=10_000)
    else:
        path.write_text(json_lines(row) * 60_000 if suffix == ".jsonl" else "click,user\n" + f"1,{row['user']}\n" * 60_000)

    rows = read(path, DataSettings())
    for _ in itertools.islice(rows, 20_000):
        pass
    tracemalloc.start()
    for _ in rows:
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 4_000_000  # the rows that were left hold over 10 MB


@pytest.mark.parametrize(
    ("name", "begins", "endless"),
    [
        ("log.csv.gz", b"click,user\n1,u\n", b"0" * 65_536),
        ("log.csv.gz", b"click,user\n1,u\n", b'"x\n",' * 10_000),
        ("log.jsonl.gz", b'{"click":1,"user":"u"}\n', b"\0" * 65_536),
    ],
)
def test_a_small_file_that_unpacks_to_a_row_without_an_end_takes_no_memory(
    tmp_path: Path, name: str, begins: bytes, endless: bytes
) -> None:
    path = tmp_path / name
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(begins)
        for _ in range(50_000_000 // len(endless)):
            file.write(endless)

    rows = read(path, DataSettings())
    assert next(rows).features == {"user": "u"}
    tracemalloc.start()
    with pytest.raises(FileError, match="got a row of more than 4,194,304 bytes after row 1"):
        next(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 100_000_000


def test_a_long_file_whose_rows_go_on_from_block_to_block_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("click,user\n" + ('1,"' + "u\n" * 40_000 + '"\n') * 200)

    assert sum(1 for _ in read(path, DataSettings())) == 200


@pytest.mark.parametrize("value", ["[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000])
def test_brackets_in_brackets_are_an_error_that_names_the_row(tmp_path: Path, value: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"click":1}\n{"click":1,"user":' + value + "}\n")

    with pytest.raises(FileError, match="row 2: got maximum recursion depth exceeded"):
        list(read(path, DataSettings()))


def test_a_kind_of_number_that_arrow_does_not_know_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    parquet.write_table(pa.table({"click": [0, 1]}), path)
    schema = bytes(pa.schema([("click", pa.int64())]).serialize())
    wider = schema.replace(b"\x40\0\0\0", b"\x80\0\0\0")  # bits
    path.write_bytes(path.read_bytes().replace(base64.b64encode(schema), base64.b64encode(wider)))

    with pytest.raises(FileError, match=r"log.parquet: got .* after row 0, expected parquet"):
        list(read(path, DataSettings()))


@pytest.mark.parametrize("time", ["1969-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-01:00"])
def test_a_date_outside_the_times_of_events_is_a_wrong_time(tmp_path: Path, time: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"click,time\n1,{time}\n")

    with pytest.raises(BadRowError, match="column 'time'"):
        list(read(path, DataSettings(time="time")))


@pytest.mark.parametrize(
    ("name", "data", "count", "clicks"),
    [
        ("avazu_sample.csv.gz", DataSettings(format="avazu"), 45_114, 0.168),
        ("criteo_sample.tsv.gz", DataSettings(format="criteo"), 20_053, 0.224),
    ],
)
def test_kaggle_files_are_read_whole(name: str, data: DataSettings, count: int, clicks: float) -> None:
    labels = [row.label for row in read(recorded_log(name), data)]

    assert len(labels) == count
    assert sum(labels) / count == pytest.approx(clicks, abs=0.0005)
