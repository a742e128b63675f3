"""What the tests of the learner have in common."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.log.contract import Log
from tests.stream.learning import opened


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """Yield an empty log."""
    with opened(tmp_path) as log:
        yield log
