"""``sml compile``: compile the kernels, once on a machine, so that nothing waits for them in silence.

Of processes that start at the same time one compiles, and the others wait for it.
"""

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from model.kernels.cache import mark
from model.settings import NetworkName
from service.screen import say, showing


def are_compiled(network: NetworkName) -> bool:
    """Return whether all kernels of a network are known to be compiled."""
    marked = mark(network)
    return marked is not None and marked.exists()


def compile_kernels(network: NetworkName) -> None:
    """Compile the kernels of a network that are not compiled yet, with progress on stderr."""
    if are_compiled(network):
        return
    with _alone(mark(network)):
        if not are_compiled(network):
            from model.compiled import compiling

            showing(compiling(network), f"compiling the kernels of {network}, once on this machine")


@contextmanager
def _alone(marked: Path | None) -> Iterator[None]:
    """Wait until no other process compiles into the same folder, if it is ours to write."""
    with ExitStack() as opened:
        if marked is not None:
            with suppress(OSError):
                marked.parent.mkdir(parents=True, exist_ok=True)
                lock = opened.enter_context((marked.parent / "compiling.lock").open("w"))
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    say("waiting for another process, which is compiling the kernels")
                    fcntl.flock(lock, fcntl.LOCK_EX)
        yield
