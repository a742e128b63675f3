"""Work that a thread does beside the event loop, until a block ends."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


@asynccontextmanager
async def in_thread(run: Callable[[Callable[[], bool]], None], name: str, patience: float | None = None) -> AsyncIterator[None]:
    """Run a function in a thread until the block ends; the loop goes on while the thread comes to its end.

    Args:
        run: Works until what it is called with returns that it should stop.
        name: The thread's.
        patience: The seconds that it has to stop, once it is told to; None: as many as it takes.
    """
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(stop.is_set,), name=name, daemon=patience is not None)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        await asyncio.to_thread(thread.join, patience)
