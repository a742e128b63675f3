"""A cache of kernels, for the tests of what compiles them."""

import shutil
from pathlib import Path

import pytest

from model.compiled import compiling
from model.kernels import target


@pytest.fixture
def unmarked(tmp_path: Path) -> Path:
    """Return a cache that holds kernels, but says of no network that it has them all."""
    for _ in compiling("dnn"):
        pass
    return Path(shutil.copytree(target.config.CACHE_DIR, tmp_path / "cache", ignore=shutil.ignore_patterns("dnn-*")))
