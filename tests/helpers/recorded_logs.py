"""The real click logs, in ``../shared/data`` beside the repository or in ``SML_DATA_DIR``; they are never copied into the repository."""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("SML_DATA_DIR", Path(__file__).parents[3] / "shared" / "data"))


def recorded_log(name: str) -> Path:
    """Return the path of a real log, or skip the test that wants it."""
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"real click log {path} is absent (set SML_DATA_DIR)")
    return path
