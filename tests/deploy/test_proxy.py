"""Two servers behind one port: a real HAProxy, with the composition's configuration, asks only those that are ready and loses no request."""

import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.deploy.composition import ROOT, read
from tests.helpers.ports import free_ports
from tests.helpers.system import need

CONFIG = (ROOT / "deploy/haproxy.cfg").read_text(encoding="utf-8")
SERVICES = read("docker-compose.yml")["services"]


class Server(ThreadingHTTPServer):
    """Says who it is, and whether it is ready."""

    def __init__(self, name: str, ready: bool) -> None:
        self.ready = ready
        self.name = name

        class Answer(BaseHTTPRequestHandler):
            def do_GET(inner) -> None:  # noqa: N805
                ready = self.ready or inner.path != "/readyz"
                inner.send_response(200 if ready else 503)
                inner.end_headers()
                inner.wfile.write(f"{self.name} {inner.headers['X-Forwarded-For']}".encode())

            def log_message(inner, *_: object) -> None:  # noqa: N805
                pass

        super().__init__(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()


@contextmanager
def proxied(folder: Path, servers: list[Server]) -> Iterator[str]:
    """Run HAProxy by the configuration, which has these servers in place of those that Docker's DNS would name."""
    (port,) = free_ports(1)
    named = "".join(f"  server {server.name} 127.0.0.1:{server.server_port}\n" for server in servers)
    (template,) = [line for line in CONFIG.splitlines(keepends=True) if "server-template" in line]
    (folder / "haproxy.cfg").write_text(CONFIG.replace(template, named).replace("bind :8000", f"bind 127.0.0.1:{port}"))
    with subprocess.Popen([need("haproxy"), "-db", "-f", folder / "haproxy.cfg"], stderr=subprocess.DEVNULL) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            for server in servers:
                server.shutdown()
                server.server_close()


def asked(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def until(url: str, names: set[str]) -> None:
    """Wait until ten requests are answered by just these servers."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with suppress(OSError):
            if {asked(url).partition(" ")[0] for _ in range(10)} == names:
                return
        time.sleep(0.05)
    pytest.fail(f"not answered by {names}")


def test_only_ready_servers_are_asked_and_no_request_fails_when_one_is_gone(tmp_path: Path) -> None:
    first, second = Server("first", ready=True), Server("second", ready=False)
    with proxied(tmp_path, [first, second]) as url:
        until(url, {"first"})
        assert asked(url) == "first 127.0.0.1"  # whom the server is to count as its client
        second.ready = True
        until(url, {"first", "second"})

        first.shutdown()
        first.server_close()

        assert {asked(url).partition(" ")[0] for _ in range(20)} == {"second"}


def test_haproxy_accepts_the_configuration_and_the_servers_bear_the_name_that_it_asks_for() -> None:
    done = subprocess.run([need("haproxy"), "-c", "-f", ROOT / "deploy/haproxy.cfg"], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    servers = [name for name, service in SERVICES.items() if service.get("command") == "serve"]
    assert len(servers) == 2
    assert all(SERVICES[name]["networks"]["default"]["aliases"] == ["servers"] for name in servers)
    assert "servers:8000 resolvers docker" in CONFIG
    assert SERVICES["proxy"]["ports"] == ["127.0.0.1:8000:8000"]
    assert [name for name in servers if "ports" in SERVICES[name]] == []
