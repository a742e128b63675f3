"""What the last bit of a result depends on besides the examples: the kernels' target and compiler."""

import platform
from functools import cache
from importlib.metadata import version

import numba

import model.kernels.target  # noqa: F401 - it sets the target that is named below

_STEP = 2  # raised when a change within one version of the program gives the same examples other bits


@cache
def fingerprint() -> str:
    """Return the version of this program and of its step, the kernels' target, their compiler, and the math library, as one line.

    Under one fingerprint the same examples give the same bits; under two they agree within rounding.
    """
    parts = {
        "sml": f"{version('sml-online')}-{_STEP}",
        "cpu": vars(numba.config).get("CPU_NAME") or platform.processor() or platform.machine(),
        "numba": version("numba"),
        "llvmlite": version("llvmlite"),
        "libm": "-".join(platform.libc_ver()),
    }
    return " ".join(f"{name}={value}" for name, value in parts.items())
