"""Bodies may come packed, and unpack to no more than a body may have."""

import gzip
import json
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
import zstandard
from fastapi.testclient import TestClient

from service.access.guard import MIB, Access
from tests.service.access.test_guard import PREDICT, serving

BODY = json.dumps(PREDICT).encode()
ALIKE: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstandard.compress, "GZIP": gzip.compress}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with serving(Access.unlimited()) as client:
        yield client


def post(client: TestClient, body: bytes, encoding: str) -> tuple[int, str]:
    """Send a packed body; return the status, and why it was refused."""
    answer = client.post("/v1/predict", content=body, headers={"Content-Encoding": encoding})
    return answer.status_code, answer.json().get("detail", "")


@pytest.mark.parametrize("encoding", ALIKE)
def test_a_packed_body_is_answered_as_it_would_be_unpacked(client: TestClient, encoding: str) -> None:
    plain = client.post("/v1/predict", content=BODY).json()
    packed = client.post("/v1/predict", content=ALIKE[encoding](BODY), headers={"Content-Encoding": encoding}).json()

    assert [each["probability"] for each in packed["predictions"]] == [each["probability"] for each in plain["predictions"]]


def test_a_body_that_nobody_asks_for_is_not_unpacked(client: TestClient) -> None:
    assert client.request("GET", "/healthz", content=b"no gzip", headers={"Content-Encoding": "gzip"}).status_code == 200


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", ""])
def test_another_encoding_is_refused_with_those_that_are_known(client: TestClient, encoding: str) -> None:
    answer = client.post("/v1/predict", content=BODY, headers={"Content-Encoding": encoding})

    if encoding:
        assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "gzip, zstd")
    else:
        assert answer.status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_is_refused_and_takes_no_memory(client: TestClient, encoding: str) -> None:
    bomb = ALIKE[encoding](b" " * 200_000_000)
    assert len(bomb) < MIB

    tracemalloc.start()
    found = post(client, bomb, encoding)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert found == (413, "the body is longer than 1,048,576 bytes")
    assert peak < 20 * MIB


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("damage", ["cut", "no such thing", "empty", "twice"])
def test_a_damaged_body_is_refused(client: TestClient, encoding: str, damage: str) -> None:
    packed = ALIKE[encoding](BODY)
    sent = {"cut": packed[:-9], "no such thing": BODY, "empty": b"", "twice": packed * 2}[damage]

    status, why = post(client, sent, encoding)

    assert status in ((400, 422) if damage in ("twice", "empty") else (400,))
    assert why
