"""The two logs: a test that asks for ``log`` runs on SQLite and on a real Kafka."""

from collections.abc import Iterator

import pytest

from stream.log.connect import connect
from stream.log.contract import Log


@pytest.fixture(params=["sqlite", "kafka"])
def log_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the url of an empty log in SQLite, or of the running Kafka."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('log')}/deep/log.db"
    return str(request.getfixturevalue("kafka"))


@pytest.fixture
def log(log_url: str) -> Iterator[Log]:
    """Open the log."""
    with connect(log_url) as opened:
        yield opened
