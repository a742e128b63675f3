"""The one CPU target that every kernel is compiled for, so that the same events give the same bits everywhere.

Import :func:`kernel` before anything else of numba: the target is fixed when the first kernel is compiled.
"""

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numba
from xxhash import xxh3_64_hexdigest

P = ParamSpec("P")
R = TypeVar("R")

config: Any = numba.config

if platform.machine() in ("x86_64", "AMD64"):
    config.CPU_NAME = "x86-64-v3"
    config.CPU_FEATURES = ""

# numba looks for changes only in the file of the kernel that is called, not in those of the kernels that it calls.
_MODEL = Path(__file__).parent.parent
if not config.CACHE_DIR and os.access(_MODEL, os.W_OK):
    _SOURCES = b"".join(path.read_bytes() for path in sorted(_MODEL.rglob("*.py")))
    config.CACHE_DIR = str(_MODEL / "__pycache__" / f"kernels-{xxh3_64_hexdigest(_SOURCES)}")

# Without nnan and ninf: with them the compiler takes isfinite(nan) for true.
_FLAGS: dict[str, Any] = {
    # Nor arcp and afn: with them it takes roots and quotients by the processor's estimates, whose bits each maker chooses.
    "fastmath": {"reassoc", "contract", "nsz"},
    "error_model": "numpy",  # Python's check for division by zero stops the vectoriser
    "nogil": True,
    "cache": True,
    # A kernel called from another is part of it. Else each has a copy of its own, compiled apart, and which of them is run
    # depends on what the process has loaded before: one that has just compiled would get other bits than the next.
    "forceinline": True,
    "_nrt": False,  # kernels allocate nothing, so no array in them needs to be counted: a slice would cost two locked additions
}


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` for the fixed target, on its first call."""
    return numba.njit(**_FLAGS)(function)  # type: ignore[no-any-return]


def pointer(function: Callable[..., Any], signature: Any) -> Any:
    """Compile a kernel apart, to be called by its address: what takes it as an argument is the same code whatever it is given."""
    return numba.cfunc(signature, **{**_FLAGS, "forceinline": False})(function.py_func)  # type: ignore[attr-defined]


def specialized(function: Callable[..., R]) -> Callable[..., R]:
    """Return a kernel whose arguments have the types of the first call for ever: numba finds those of named tuples anew at each, in 0.2 ms.

    An array of another type or layout is not refused: it is read as if it had the first one's.
    """
    dispatcher: Any = function
    entry: Callable[..., R] | None = None

    def call(*arguments: Any) -> R:
        nonlocal entry
        if entry is None:
            entry = dispatcher.compile(tuple(map(numba.typeof, arguments)))
        return entry(*arguments)

    return call


def ordered_sum(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a kernel whose sums keep the order that they are written in, where that order is part of the result.

    A product and the sum that it goes into are one operation, rounded once.
    """
    return numba.njit(**{**_FLAGS, "fastmath": {"contract"}})(function)  # type: ignore[no-any-return]
