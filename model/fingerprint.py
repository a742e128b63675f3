"""What the last bit of a result depends on beside the examples: what the kernels were compiled for, and by what."""

import platform
from functools import cache
from importlib.metadata import version

import numba

import model.kernels.target  # noqa: F401 - it sets the target that is named here


@cache
def fingerprint() -> str:
    """Name this program's version, the kernels' target, their compiler, and the math library.

    Under one fingerprint the same examples give the same bits; under two they agree within rounding.
    """
    parts = {
        "sml": version("sml-online"),
        "cpu": vars(numba.config).get("CPU_NAME") or platform.processor() or platform.machine(),
        "numba": version("numba"),
        "llvmlite": version("llvmlite"),
        "libm": "-".join(platform.libc_ver()),
    }
    return " ".join(f"{name}={value}" for name, value in parts.items())
