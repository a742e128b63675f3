"""A site with weights in service, for the tests of its endpoints."""

import gc
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from tests.service.fakes import Site, trained


@pytest.fixture(autouse=True)
def thaw() -> Iterator[None]:
    """Unfreeze what an application has frozen when its test is over."""
    yield
    gc.unfreeze()


@pytest.fixture
def site() -> Site:
    """Return an application without weights."""
    return Site()


@pytest.fixture
def client(site: Site) -> Iterator[TestClient]:
    """Its client, while it runs with weights of version 7."""
    with site.client() as client:
        site.follower.publish(7, trained())
        yield client
