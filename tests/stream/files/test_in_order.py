"""Rows are sorted by time as Python's stable sort does, and a JSON array is what its lines are."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from stream.files import json_lines
from stream.files.in_order import in_order, is_in_order
from stream.files.layout import Logged
from stream.files.rows import read
from stream.settings import DataSettings

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1), VALUES)))
def test_rows_are_sorted_by_time_and_keep_their_own_order(found: list[tuple[int, int, object]]) -> None:
    rows = [Logged(number, time, label, {"a": value}, None) for number, (time, label, value) in enumerate(found)]  # type: ignore[dict-item]

    assert list(in_order(rows)) == sorted(rows, key=lambda row: row.time)


def test_an_order_is_told(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    for times, expected in (("5\n5\n6\n", True), ("5\n6\n5\n", False)):
        path.write_text("click,ts\n" + "".join(f"0,{time}\n" for time in times.split()))

        assert is_in_order(path, DataSettings(time="ts")) is expected


@settings(max_examples=20)
@given(st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=3)), st.sampled_from([None, 1]), st.sampled_from([7, 1 << 20]))
def test_an_array_is_what_its_lines_are(
    tmp_path_factory: pytest.TempPathFactory, found: list[dict[str, object]], indent: int | None, size: int
) -> None:
    objects = [{**each, "click": 1} for each in found]
    folder = tmp_path_factory.mktemp("arrays")
    (folder / "array.json").write_text(json.dumps(objects, indent=indent, ensure_ascii=False))
    (folder / "lines.json").write_text("".join(json.dumps(each) + "\n" for each in objects))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lines, "BLOCK", size)
        assert list(read(folder / "array.json", DataSettings())) == list(read(folder / "lines.json", DataSettings()))
