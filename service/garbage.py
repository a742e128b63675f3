"""Python's search for garbage in cycles, in processes that read records: these are many, and hardly ever such garbage."""

import gc


def search_seldom() -> None:
    """Leave out of each search all that is loaded by now, and search after 10,000 new objects, not after 700."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
