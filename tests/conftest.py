"""What tests share: a real Kafka, started when the first test asks for it, and an end that does not hang."""

import gc
import logging
import os
from collections.abc import Iterator

import pytest

from tests.kafka_server import KafkaServer, fetch_jars

_status = pytest.StashKey[int]()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Keep the status for the end."""
    session.config.stash[_status] = exitstatus


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End once all is told: to take down a thousand kernels and the libraries' threads, Python needs long, or never comes to an end."""
    if _status in config.stash:
        config.get_terminal_writer().flush()
        os._exit(config.stash[_status])


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Yield the url of a running Kafka: ``SML_TEST_KAFKA``'s, or one of our own. Without either, skip; in CI, fail."""
    given = os.environ.get("SML_TEST_KAFKA")
    if given:
        yield given
        return
    problem = fetch_jars()
    if problem is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(problem)
        pytest.skip(problem)
    with KafkaServer() as server:
        yield server.url


@pytest.fixture
def refused(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Collect the sockets of refused connections, which kafka-python drops without closing them."""
    caplog.set_level(logging.CRITICAL, "kafka")
    yield
    gc.collect()
