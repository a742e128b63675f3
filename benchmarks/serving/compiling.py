"""The time that each kernel takes to compile, the processor's, with what it calls and without, from an empty cache.

``NUMBA_CACHE_DIR=$(mktemp -d) python -m benchmarks.serving.compiling [NETWORK]`` compiles as ``sml compile`` does, and prints what takes
the most in this process, which compiles what predicts and explains; the one beside it compiles what learns.
"""

import sys
import time
from collections import defaultdict
from typing import Any, cast

from numba.core.event import Listener, register

from model.compiled import compiling
from model.settings import NetworkName

SHOWN = 12


class Compilations(Listener):
    """Notes what numba compiles; a kernel is compiled while its caller is."""

    def __init__(self) -> None:
        self.whole: dict[str, float] = defaultdict(float)  # seconds, by kernel
        self.own: dict[str, float] = defaultdict(float)  # without the kernels that it calls
        self._open: list[list[float]] = []  # when each began, and the seconds of those inside it

    def on_start(self, _: Any) -> None:
        """Begin a kernel."""
        self._open.append([time.process_time(), 0.0])

    def on_end(self, event: Any) -> None:
        """End it."""
        begun, inside = self._open.pop()
        seconds = time.process_time() - begun
        function = event.data["dispatcher"].py_func
        name = f"{function.__module__}.{function.__qualname__}"
        self.whole[name] += seconds
        self.own[name] += seconds - inside
        if self._open:
            self._open[-1][1] += seconds


def main(network: NetworkName) -> None:
    """Compile a network's kernels, and print their times."""
    compilations = Compilations()
    register("numba:compile", compilations)  # type: ignore[no-untyped-call]
    begun = time.process_time()
    for _ in compiling(network):
        pass
    print(f"{network}: {time.process_time() - begun:.1f} s, {len(compilations.own)} kernels")
    for name in sorted(compilations.own, key=compilations.own.__getitem__, reverse=True)[:SHOWN]:
        print(f"{compilations.own[name]:6.2f} {compilations.whole[name]:6.2f}  {name}")


if __name__ == "__main__":
    main(cast("NetworkName", sys.argv[1] if len(sys.argv) > 1 else "dnn"))
