"""Tests of faults: short by default, long with ``SML_FAULTS=long``."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.traffic import SETTINGS
from tests.helpers.kafka_server import KafkaServer
from tests.helpers.site import Site

LONG = os.environ.get("SML_FAULTS") == "long"
long_only = pytest.mark.skipif(not LONG, reason="for the long form: SML_FAULTS=long")


@pytest.fixture
def broker(kafka: str) -> Iterator[KafkaServer]:
    """Yield a node of our own, which a test may kill; ``kafka`` is needed so that the jars are there."""
    assert kafka
    with KafkaServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "kafka"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """Yield a site on each kind of log; its topics are not created yet."""
    url = f"sqlite:///{tmp_path}/log.db" if request.param == "sqlite" else request.getfixturevalue("kafka")
    yield from opened(tmp_path, url)


@pytest.fixture
def kafka_site(kafka: str, tmp_path: Path) -> Iterator[Site]:
    """Yield a site on Kafka; its topics are not created yet."""
    yield from opened(tmp_path, kafka)


def opened(folder: Path, url: str) -> Iterator[Site]:
    """Yield a site, then kill its processes."""
    (folder / "sml.toml").write_text(SETTINGS)
    site = Site(folder, url)
    yield site
    site.close()
