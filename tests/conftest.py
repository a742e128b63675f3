"""Shared fixtures: a real Kafka, one for all workers or started when the first test asks for it; and an exit that does not hang."""

import gc
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.kafka_server import KafkaServer, fetch_jars
from tests.helpers.secure_kafka import SecureKafka

_status = pytest.StashKey[int]()
_of_all_workers = pytest.StashKey[KafkaServer | None]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Let all workers of pytest-xdist use one Kafka, if it is here."""
    stash = node.config.stash
    if _of_all_workers not in stash:
        stash[_of_all_workers] = None if os.environ.get("SML_TEST_KAFKA") or fetch_jars() else KafkaServer()
        if server := stash[_of_all_workers]:
            server.start()
    if server := stash[_of_all_workers]:
        node.workerinput["kafka"] = server.url


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests of whole systems: a file of many minutes that starts last would keep one core, and leave the other idle."""
    items.sort(key=lambda item: item.path.parent != Path(__file__).parent)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Keep the exit status for :func:`pytest_unconfigure`."""
    session.config.stash[_status] = exitstatus


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Exit at once after the report: with a thousand kernels and the libraries' threads, Python's own exit is slow or hangs."""
    if server := config.stash.get(_of_all_workers, None):
        server.close()
    if _status in config.stash:
        config.get_terminal_writer().flush()
        os._exit(config.stash[_status])


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the URL of a running Kafka: that of ``SML_TEST_KAFKA``, or of a server that we start. Without either, skip; in CI, fail."""
    given = os.environ.get("SML_TEST_KAFKA") or getattr(request.config, "workerinput", {}).get("kafka")
    if given:
        yield given
        return
    _need_jars()
    with KafkaServer() as server:
        yield server.url


@pytest.fixture(scope="session")
def secure_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """Yield a running Kafka that asks who one is. Without Java, skip; in CI, fail."""
    _need_jars()
    with SecureKafka(tmp_path_factory.mktemp("certificates")) as server:
        yield server


def _need_jars() -> None:
    problem = fetch_jars()
    if problem is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(problem)
        pytest.skip(problem)


@pytest.fixture
def refused(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Garbage-collect the sockets of refused connections: kafka-python drops them without closing them."""
    caplog.set_level(logging.CRITICAL, "kafka")
    yield
    gc.collect()
