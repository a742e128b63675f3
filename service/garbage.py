"""The garbage collector in processes that read records: they make many objects, and hardly ever a cycle of them."""

import gc


def collect_seldom() -> None:
    """Exempt all that is loaded by now from garbage collection, and collect after 10,000 new objects, not after 700."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
