"""A pointer finds what RFC 6901 says that it does, and tells a value that is missing from one of another shape."""

import pytest

from stream.inputs.pointers import ABSENT, WrongTypeError, escape, find, parse

# The document and the pointers of RFC 6901, section 5.
DOCUMENT = {"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, 'k"l': 6, " ": 7, "m~n": 8}
FOUND = {
    "": DOCUMENT,
    "/foo": ["bar", "baz"],
    "/foo/0": "bar",
    "/": 0,
    "/a~1b": 1,
    "/c%d": 2,
    "/e^f": 3,
    "/g|h": 4,
    "/i\\j": 5,
    '/k"l': 6,
    "/ ": 7,
    "/m~0n": 8,
}


@pytest.mark.parametrize("pointer", FOUND)
def test_the_examples_of_the_rfc_are_found(pointer: str) -> None:
    assert find(DOCUMENT, parse(pointer)) == FOUND[pointer]
    assert "/".join(["", *map(escape, parse(pointer))]) == pointer


@pytest.mark.parametrize("pointer", ["foo", "/a~", "/a~2b", "#/foo", " /foo"])
def test_what_is_no_pointer_is_refused(pointer: str) -> None:
    with pytest.raises(ValueError, match="a JSON Pointer such as /user/id"):
        parse(pointer)


@pytest.mark.parametrize("pointer", ["/nowhere", "/foo/2", "/foo/99999999999999999999", "/null/x", "/nowhere/x/0"])
def test_what_is_missing_is_absent(pointer: str) -> None:
    assert find({"foo": ["bar"], "null": None}, parse(pointer)) is ABSENT


@pytest.mark.parametrize("pointer", ["/foo/bar", "/foo/-", "/foo/01", "/foo/0/x", "/n/0"])
def test_a_way_through_a_value_of_another_shape_is_an_error(pointer: str) -> None:
    with pytest.raises(WrongTypeError):
        find({"foo": ["bar"], "n": 1}, parse(pointer))
