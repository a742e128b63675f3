"""The one CPU target that every kernel is compiled for, so that the same events give the same bits everywhere.

Import :func:`kernel` before anything else of numba: the target is fixed when the first kernel is compiled.
"""

import importlib
import platform
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numba

from model.kernels import cache

P = ParamSpec("P")
R = TypeVar("R")

config: Any = numba.config

if platform.machine() in ("x86_64", "AMD64"):
    config.CPU_NAME = "x86-64-v3"
    config.CPU_FEATURES = ""

if "scipy.linalg" not in sys.modules:  # where it is installed numba would load it, a third of a second for what no kernel uses
    sys.modules["scipy.linalg"] = None  # type: ignore[assignment]  # as Python says that a module is not to be had
    importlib.import_module("numba.np.arraymath")
    del sys.modules["scipy.linalg"]

if not config.CACHE_DIR and (kept := cache.folder()):
    config.CACHE_DIR = str(kept)

# Without nnan and ninf: with them the compiler assumes that isfinite(nan) is true.
_FLAGS: dict[str, Any] = {
    # Nor arcp and afn: with them it computes roots and quotients from the processor's estimates, whose bits each maker chooses.
    "fastmath": {"reassoc", "contract", "nsz"},
    "error_model": "numpy",  # Python's check for division by zero stops the vectoriser
    "nogil": True,
    "cache": True,
    # A kernel called from another is part of it. Otherwise each caller has its own copy, compiled apart, and which of them runs
    # depends on what the process loaded before: a process that has just compiled would get other bits than the next.
    "forceinline": True,
    "no_cfunc_wrapper": True,  # it would compile the kernel once more, for callers of another language
    "_nrt": False,  # kernels allocate nothing, so no array in them needs to be counted: a slice would cost two locked additions
}


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile, on its first call, a kernel that only Python calls: apart from what Python calls it by, or it would be compiled twice."""
    return numba.njit(**{**_FLAGS, "forceinline": False})(function)  # type: ignore[no-any-return]


def anywhere(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a kernel that Python and kernels call."""
    return numba.njit(**_FLAGS)(function)  # type: ignore[no-any-return]


def inner(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a kernel that only kernels call: without what Python calls it by, into which it would be compiled once more."""
    return numba.njit(**{**_FLAGS, "no_cpython_wrapper": True})(function)  # type: ignore[no-any-return]


def inner_ordered_sum(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a kernel that only kernels call, and whose sums keep their order, as :func:`ordered_sum` says."""
    return numba.njit(**{**_FLAGS, "no_cpython_wrapper": True, "fastmath": {"contract"}})(function)  # type: ignore[no-any-return]


def view(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a kernel that returns a view of an array that it is given; only as a part of its caller's own code can it do so."""
    return numba.njit(**_FLAGS, inline="always")(function)  # type: ignore[no-any-return]


def pointer(function: Callable[..., Any], signature: Any) -> Any:
    """Compile a kernel apart, to be called by its address: its caller is then the same code, whichever kernel it is given."""
    return numba.cfunc(signature, **{**_FLAGS, "forceinline": False})(function.py_func)  # type: ignore[attr-defined]


def specialized(function: Callable[..., R]) -> Callable[..., R]:
    """Fix the argument types of a kernel at its first call: numba finds those of named tuples anew at each call, in 0.2 ms.

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
