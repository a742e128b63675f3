"""A server ends as Kubernetes ends a pod: it is still asked until every proxy knows, and by open connections even then; no request fails."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from threading import Event

import pytest

from tests.helpers.site import Site
from tests.stream.learning import TOPICS, examples, learn_all, opened

BODY = json.dumps({"candidates": [{"id": "a", "user": 1, "item": 2, "price": 1.5}]}).encode()
KEPT, NEW = 6, 2  # clients that keep their connections, as proxies do, and that connect for each request


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Site]:
    """Serve a small model, until it is ready."""
    with opened(tmp_path) as log:
        log.append(examples(50))
        learn_all(log, tmp_path)
    fields = '[[field]]\nname = "user"\n[[field]]\nname = "item"\n[[field]]\nname = "price"\nkind = "numeric"\n'
    (tmp_path / "sml.toml").write_text(fields)
    site = Site(tmp_path, f"sqlite:///{tmp_path / 'log.db'}", SML_LOG__PREFIX=TOPICS.prefix)
    site.start("serve")
    try:
        site.wait_for(lambda: site.get("serve", "/readyz").is_success, "weights")
        yield site
    finally:
        site.close()


def connected(site: Site) -> HTTPConnection:
    return HTTPConnection("127.0.0.1", site.ports["serve"], timeout=60)


def asked(connection: HTTPConnection) -> HTTPResponse:
    connection.request("POST", "/v1/predict", BODY)
    answer = connection.getresponse()
    assert answer.status == 200
    assert b"probability" in answer.read()
    return answer


def keep_asking(site: Site, pause: float) -> int:
    """Ask over one connection until an answer says that it is the last; return how many came."""
    count = 1
    with closing(connected(site)) as connection:
        while not asked(connection).will_close:
            count += 1
            time.sleep(pause)
    return count


def connect_and_ask(site: Site, known: Event) -> int:
    """Ask over new connections until it is known that the pod ends."""
    count = 0
    while not known.is_set():
        with closing(connected(site)) as connection:
            asked(connection)
        count += 1
    return count


def test_no_request_fails_when_a_pod_ends(pod: Site) -> None:
    known = Event()
    with (
        ThreadPoolExecutor(KEPT + NEW) as clients,
        socket.create_connection(("127.0.0.1", pod.ports["serve"]), timeout=60) as slow,
    ):
        kept = [clients.submit(keep_asking, pod, 0.03 * (n % 2)) for n in range(KEPT)]  # half of them are idle most of the time
        new = [clients.submit(connect_and_ask, pod, known) for _ in range(NEW)]
        slow.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY[:9]))
        time.sleep(0.3)  # meanwhile proxies hear of it: the preStop of deploy/kubernetes/server.yaml
        known.set()
        answered = [client.result() for client in new]

        pod.processes["serve"].send_signal(signal.SIGTERM)

        time.sleep(0.3)  # it has stopped listening
        slow.sendall(BODY[9:])
        assert slow.recv(65_536).startswith(b"HTTP/1.1 200 ")
        answered += [client.result() for client in kept]
        assert pod.processes["serve"].wait(60) == 0
    assert all(answered)
    assert "shutdown exceeded" not in pod.said("serve")
