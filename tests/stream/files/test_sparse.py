"""The text formats of LIBSVM, LIBFFM and Vowpal Wabbit."""

from pathlib import Path

import pytest

from stream.files.opened import FileError
from stream.files.rows import read
from stream.settings import DataSettings


@pytest.mark.parametrize(
    ("name", "text", "features"),
    [
        ("log.libsvm", "1 3:1 17:1 40:0.5 # a comment\n", {"features": ["3", "17"], "40": 0.5}),
        ("log.svm", "-1 3:1\n", {"features": ["3"]}),
        ("log.libffm", "1 0:3:1 1:17:1 1:18:1 2:40:0.5\n", {"0": ["3"], "1": ["17", "18"], "2_40": 0.5}),
        ("log.vw", "1 'tag|user age:25 city=Paris a:b |item id=7\n", {"user": ["city=Paris", "a:b"], "user_age": 25.0, "item": ["id=7"]}),
        ("log.vw", "-1 2.0 | red price:9.5\n", {"features": ["red"], "price": 9.5}),
    ],
)
def test_an_example_is_its_lists_and_its_numbers(tmp_path: Path, name: str, text: str, features: dict[str, object]) -> None:
    path = tmp_path / name
    path.write_text(text)

    [row] = read(path, DataSettings())

    assert (row.label, row.features) == (int(text[0] == "1"), features)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("log.libsvm", "1 3\n", "row 1: got '3', expected index:value"),
        ("log.libsvm", "1 3:x\n", "row 1: got '3:x', expected index:value"),
        ("log.libffm", "1 3:1\n", "row 1: got '3:1', expected field:index:value"),
        ("log.vw", "1 |user:2.0 a\n", "row 1: got the namespace 'user:2.0', expected one without a weight"),
        ("log.vw", "5 | a\n", "row 1, column 'click': got '5', expected 0 or 1"),
    ],
)
def test_a_line_that_is_none_is_named(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    path = tmp_path / name
    path.write_text(text)

    with pytest.raises(FileError, match=complaint):
        list(read(path, DataSettings()))
