"""What is prepared ahead comes in order, and nothing is left behind."""

import threading
from collections.abc import Iterator

import pytest

from stream.ahead import ahead


def test_the_next_item_is_prepared_while_this_one_is_used() -> None:
    begun = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        begun.set()
        yield 2

    coming = ahead(items())

    assert next(coming) == 1
    assert begun.wait(10)
    assert list(coming) == [2]


def test_an_error_comes_in_the_place_of_its_item() -> None:
    coming = ahead(1 // n for n in (1, 0, 1))

    assert next(coming) == 1
    with pytest.raises(ZeroDivisionError):
        next(coming)
    assert list(coming) == []


def test_who_stops_in_the_middle_leaves_no_thread_and_takes_one_item_too_many_at_most() -> None:
    items = iter(range(9))
    coming = ahead(items)
    next(coming)

    coming.close()

    assert next(items) == 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
