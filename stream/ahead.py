"""One step ahead: a thread prepares the next item while this one is used."""

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T]) -> Generator[T]:
    """Yield ``items`` in their order; while one is used, a thread takes the next. An error comes in the place of its item.

    >>> list(ahead("abc"))
    ['a', 'b', 'c']
    """
    iterator = iter(items)
    end = object()
    with ThreadPoolExecutor(1, "ahead") as thread:
        coming = thread.submit(next, iterator, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, iterator, end)
            yield item  # type: ignore[misc]  # it is no end
