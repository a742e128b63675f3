"""Where compiled kernels are kept, by a name that says what they are made of. numba is not imported here, so to ask costs nothing.

numba looks for changes only in the file of the kernel that is called, not in those of the kernels that it calls. So the name is a digest of
every file that a kernel is made of, and of no other: kernels survive an upgrade of the rest.
"""

import os
from functools import cache
from importlib.metadata import version
from pathlib import Path

from xxhash import xxh3_64_hexdigest

MODEL = Path(__file__).parent.parent
OUTSIDE = (  # with kernels, or with what they take
    "digest", "encoding/features", "evaluation/quality", "evaluation/scores", "explanation/contributions", "explanation/wide_term",
    "guard/window", "terms",
)  # fmt: skip


@cache
def sources() -> str:
    """Return the digest of all that a kernel is made of."""
    files = [*sorted((MODEL / "kernels").rglob("*.py")), *(MODEL / f"{name}.py" for name in OUTSIDE)]
    return xxh3_64_hexdigest(b"".join(path.read_bytes() for path in files))


def folder() -> Path | None:
    """Return the folder of the compiled kernels: ``NUMBA_CACHE_DIR``, else one beside the sources; None where numba is to choose one."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given:
        return Path(given)
    return MODEL / "__pycache__" / f"kernels-{sources()}" if os.access(MODEL, os.W_OK) else None


def mark(network: str) -> Path | None:
    """Return the file that says that all kernels of a network are compiled, by these sources and this compiler; None if there is none."""
    kept = folder()
    return kept and kept / f"{network}-{sources()}-numba{version('numba')}-llvmlite{version('llvmlite')}"
