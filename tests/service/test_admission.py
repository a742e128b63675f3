"""From the settings to who may come in: where others are, nothing listens until it is said who may do what."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge

from service.access.keys import create
from service.admission import access_of
from service.listen import PortTakenError
from service.metrics_server import exposed
from service.server_settings import AccessSettings, LimitSettings, ServeSettings
from service.settings import Settings, SettingsError, load
from stream.settings import JoinSettings, LearnSettings
from tests.helpers.ports import free_port
from tests.service.access.serving import serving as served

ROOT = Path(__file__).parents[2]
EVERYWHERE = "0.0.0.0"


def sml(folder: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **settings}
    return subprocess.run(
        [sys.executable, "-m", "service", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def listens(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def serving(folder: Path, *words: str, **settings: str) -> Iterator[int]:
    """Run `sml serve` on a new log, and yield its port."""
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SML_SERVE__PORT": f"{port}", **settings}
    assert sml(folder, "topics", "create").returncode == 0
    with (folder / "serve.log").open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "service", *words], cwd=folder, env=environment, stdout=output, stderr=output)
    try:
        end = time.monotonic() + 60
        while not listens(port):
            assert process.poll() is None, (folder / "serve.log").read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sml.toml").write_text('[[field]]\nname = "item"\n')
    return tmp_path


@pytest.mark.parametrize("command", ["serve", "up", "join", "learn"])
@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_listening_where_others_are_is_refused_until_it_is_said_who_may_do_what(folder: Path, command: str, host: str) -> None:
    section = {"join": "JOIN__METRICS_HOST", "learn": "LEARN__METRICS_HOST"}.get(command, "SERVE__HOST")
    if host != EVERYWHERE and command != "serve":
        return

    done = sml(folder, command, **{f"SML_{section}": host})

    assert done.returncode == 2
    assert f"got '{host}' without [access] keys or issuer, expected 127.0.0.1" in done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_on_this_machine_a_server_is_open(host: str) -> None:
    assert access_of(Settings(serve=ServeSettings(host=host))).callers.open


def test_insecure_opens_it_to_all_who_reach_it(folder: Path) -> None:
    with serving(folder, "serve", "--insecure", SML_SERVE__HOST=EVERYWHERE) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/metrics").status_code == 200


@pytest.mark.parametrize("setting", ["ACCESS__KEYS", "ACCESS__ISSUER", "ACCESS__AUDIENCE", "SERVE__CERTFILE"])
def test_a_variable_without_a_value_is_a_mistake_and_opens_nothing(folder: Path, setting: str) -> None:
    done = sml(folder, "serve", **{"SML_SERVE__HOST": EVERYWHERE, f"SML_{setting}": ""})

    assert done.returncode == 2


def test_keys_that_cannot_be_read_are_a_wrong_setting(folder: Path) -> None:
    done = sml(folder, "serve", SML_ACCESS__KEYS="keys.json")

    assert done.returncode == 2
    assert "access.keys: keys.json: got No such file or directory, expected a file of keys; `sml keys create` writes one" in done.stderr


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[access]\nissuer = "https://id.example.org"', "access: .*issuer and audience together"),
        ('[access]\nissuer = "http://id.example.org"\naudience = "sml"', "access.issuer: got 'http://id.example.org', expected https"),
        ('[serve]\nkeyfile = "a.pem"', "serve: .*certfile, where keyfile or client_ca is given"),
        ('[serve]\nforwarded_allow_ips = "proxy"', "serve.forwarded_allow_ips: got 'proxy', expected addresses or networks"),
    ],
)
def test_half_a_setting_is_refused(folder: Path, text: str, complaint: str) -> None:
    (folder / "sml.toml").write_text(text)

    with pytest.raises(SettingsError, match=complaint):
        load(folder / "sml.toml")


def test_a_key_is_created_shown_once_used_at_once_and_revoked_and_each_is_audited(folder: Path) -> None:
    settings = {"SML_ACCESS__KEYS": "data/keys.json", "SML_LOG_FORMAT": "json"}
    first = json.loads(sml(folder, "keys", "create", "--role", "read", "--json", **settings).stdout)
    with serving(folder, "serve", SML_SERVE__HOST=EVERYWHERE, **settings) as port:

        def status(key: str) -> int:
            return httpx.get(f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {key}"}).status_code

        created = sml(folder, "keys", "create", "--role", "read", "--role", "ingest", "--name", "shop", "--json", **settings)
        second = json.loads(created.stdout)
        time.sleep(1.1)
        assert (status(first["key"]), status(second["key"])) == (200, 200)
        revoked = sml(folder, "keys", "revoke", first["id"], **settings)
        time.sleep(1.1)
        assert (status(first["key"]), status(second["key"])) == (401, 200)

    listed = sml(folder, "keys", "list", "--json", **settings)
    assert [(each["id"], each["roles"], each["name"]) for each in json.loads(listed.stdout)] == [(second["id"], "ingest,read", "shop")]
    audits: list[dict[str, Any]] = [json.loads(each.stderr.splitlines()[-1]) for each in (created, revoked)]
    assert [(line["logger"], line["action"]) for line in audits] == [("audit", "created"), ("audit", "revoked")]
    assert second["id"] in audits[0]["subject"]
    assert all(line["who"].startswith("cli:") and line["time"] for line in audits)
    written = "".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.suffix in {".log", ".json"})
    for key in (first, second):
        secret = key["key"].split("_", 2)[2]
        assert secret not in written + created.stderr + revoked.stdout + listed.stdout


def test_a_role_that_there_is_not_is_refused(folder: Path) -> None:
    done = sml(folder, "keys", "create", "--role", "admin", SML_ACCESS__KEYS="keys.json")

    assert (done.returncode, done.stdout) == (2, "")
    assert "--role: got 'admin', expected predict, ingest, operate, read" in done.stderr


def test_keys_without_a_file_say_which_setting_is_missing(folder: Path) -> None:
    done = sml(folder, "keys", "list")

    assert done.returncode == 2
    assert 'access.keys: got none, expected a file: [access] keys = "data/keys.json"' in done.stderr


def test_simulated_traffic_comes_in_with_a_key(folder: Path) -> None:
    key, _ = create(folder / "keys.json", ["predict", "ingest"])
    with served(access=AccessSettings(keys=str(folder / "keys.json"))) as (port, site):
        done = sml(folder, "simulate", "--duration", "2", "--url", f"http://127.0.0.1:{port}", SML_KEY=key)

        assert done.returncode == 0, done.stderr
        assert site.log.messages


@pytest.mark.parametrize("host", ["127.0.0.1", EVERYWHERE])
def test_slow_and_many_clients_of_the_metrics_are_let_go_and_honest_ones_are_answered_meanwhile(tmp_path: Path, host: str) -> None:
    reader, _ = create(tmp_path / "keys.json", ["read"])
    limits, port = LimitSettings(receive_timeout=1.0, connections=12), free_port()
    access = AccessSettings(keys=str(tmp_path / "keys.json"))
    settings = Settings(access=access, limits=limits, join=JoinSettings(metrics_host=host, metrics_port=port))
    with exposed(CollectorRegistry(), settings, "join"), contextlib.ExitStack() as stack:
        before = threading.active_count()
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.2", 0))) for _ in range(40)]
        for each in slow[:3]:
            each.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-")

        answer = httpx.get(f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {reader}"})
        assert (answer.status_code, threading.active_count() - before) == (200, 0 if host == "127.0.0.1" else 1)  # the one of scrypt

        codes = []
        for each in slow:
            each.settimeout(5)
            with contextlib.suppress(ConnectionResetError):
                codes.append(each.recv(65_536)[9:12])
        assert codes.count(b"408") == 6  # half of the connections are for one address
        assert set(codes) == {b"408", b"503"}


def test_a_page_that_gave_its_name_the_address_of_the_metrics_reads_none() -> None:
    port = free_port()
    with exposed(CollectorRegistry(), Settings(join=JoinSettings(metrics_port=port)), "join"):
        statuses = [
            httpx.get(f"http://127.0.0.1:{port}{path}", headers={"Host": name}).status_code
            for path, name in (("/metrics", "localhost"), ("/metrics", "rebound.example.org"), ("/", "localhost"))
        ]

    assert statuses == [200, 421, 404]


def test_a_port_of_metrics_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with (
            pytest.raises(
                PortTakenError, match=f"metrics_port: got {port} at 127.0.0.1, expected a free port of this machine: Address already in use"
            ),
            exposed(CollectorRegistry(), Settings(join=JoinSettings(metrics_port=port)), "join"),
        ):
            raise AssertionError


def metrics(registry: CollectorRegistry) -> None:
    Gauge("sml_test", "A number.", registry=registry).set(3)


def test_metrics_of_joiner_and_learner_are_read_on_this_machine_by_anybody_and_elsewhere_with_the_role_read(tmp_path: Path) -> None:
    reader, predictor = (create(tmp_path / "keys.json", [role])[0] for role in ("read", "predict"))
    access = AccessSettings(keys=str(tmp_path / "keys.json"))
    statuses = {}
    for host in ("127.0.0.1", EVERYWHERE):
        port, registry = free_port(), CollectorRegistry()
        metrics(registry)
        with exposed(registry, Settings(access=access, join=JoinSettings(metrics_host=host, metrics_port=port)), "join"):
            for key in (reader, predictor, reader[:-2] + "AA", ""):
                answer = httpx.get(f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {key}"} if key else {})
                statuses[host, key] = answer.status_code
                assert ("sml_test 3.0" in answer.text) is (answer.status_code == 200)

    assert list(statuses.values()) == [200, 200, 200, 200, 200, 403, 401, 401]


def test_who_guesses_a_key_at_the_metrics_of_a_learner_is_bounded_and_a_known_key_is_not(tmp_path: Path) -> None:
    reader, _ = create(tmp_path / "keys.json", ["read"])
    access = AccessSettings(keys=str(tmp_path / "keys.json"))
    port, registry = free_port(), CollectorRegistry()
    settings = Settings(access=access, learn=LearnSettings(metrics_host=EVERYWHERE, metrics_port=port))
    with exposed(registry, settings, "learn"), httpx.Client(timeout=60) as client:

        def status(key: str) -> int:
            return client.get(f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {key}"}).status_code

        assert status(reader) == 200
        with ThreadPoolExecutor(16) as guessers:
            answers = list(guessers.map(status, [f"{reader[:-4]}{number:04}" for number in range(60)]))

        assert set(answers) == {401, 429}
        assert answers.count(401) < 40
        assert status(reader) == 200
