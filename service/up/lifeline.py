"""A child of ``sml up`` ends with it, whatever ends it: ``kill -9``, a lack of memory, a crash.

The parent holds one end of a pipe and never writes to it. When the parent is gone, for whatever reason, that end is closed. A thread of
the child then reads the end of the file, and asks its own process to end in order.
"""

import os
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread

VARIABLE = "SML_UP_LIFELINE"  # names the descriptor of the child's end
SAVE_TIMEOUT = 60.0  # seconds that the child has to save its work


@contextmanager
def lifeline() -> Iterator[int]:
    """Yield the descriptor that children inherit; they read its end once this process is gone, or the block has ended."""
    children_end, our_end = os.pipe()
    try:
        yield children_end
    finally:
        os.close(children_end)
        os.close(our_end)


def end_with_parent() -> None:
    """End this process when the one that started it as a child has ended; do nothing if it is nobody's child."""
    try:
        descriptor = int(os.environ.pop(VARIABLE))
        inherited = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except (KeyError, ValueError, OSError):
        return
    if inherited:
        Thread(target=_watch, args=(descriptor,), name="lifeline", daemon=True).start()


def _watch(descriptor: int) -> None:
    with suppress(OSError):
        while os.read(descriptor, 1):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SAVE_TIMEOUT)
    os.kill(os.getpid(), signal.SIGKILL)
