"""TLS with real certificates: the server's, clients', another in place of the first without a restart; and behind a proxy."""

import resource
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import trustme

from service.access.certificates import Certificates, Files
from service.server_settings import ServeSettings
from service.settings import SettingsError
from tests.service.access.serving import serving


class Certified:
    """The files of one server: its chain with its key, and the authority of its clients."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.server, self.ca = folder / "server.pem", folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca))
        self.renew()

    def renew(self) -> None:
        self.authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(self.server))

    def client(self, authority: trustme.CA | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca))
        if authority:
            authority.issue_cert("client").configure_cert(context)
        return context


@pytest.fixture
def files(tmp_path: Path) -> Certified:
    return Certified(tmp_path)


def serial(port: int, context: ssl.SSLContext) -> object:
    with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain, server_hostname="localhost") as connection:
        certificate = connection.getpeercert()
        assert certificate
        return certificate["serialNumber"]


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_server_with_a_certificate_answers_over_tls_only(files: Certified) -> None:
    with serving(ServeSettings(certfile=str(files.server))) as (port, _):
        answer = httpx.get(f"https://localhost:{port}/healthz", verify=files.client())

        assert (answer.status_code, answer.headers["strict-transport-security"]) == (200, "max-age=31536000")
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://localhost:{port}/healthz")


def test_a_certificate_that_is_replaced_is_used_without_a_restart(files: Certified) -> None:
    with serving(ServeSettings(certfile=str(files.server))) as (port, _):
        first = serial(port, files.client())
        files.renew()

        eventually(lambda: serial(port, files.client()) != first)


def test_a_certificate_that_is_replaced_by_rubbish_stays_as_it_was(files: Certified, caplog: pytest.LogCaptureFixture) -> None:
    with serving(ServeSettings(certfile=str(files.server))) as (port, _):
        first = serial(port, files.client())
        files.server.write_text("rubbish")

        eventually(lambda: "the certificate stays as it was" in caplog.text)
        assert serial(port, files.client()) == first


def test_a_certificate_that_is_replaced_while_no_file_can_be_opened_is_used_once_one_can(
    files: Certified, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(ServeSettings(certfile=str(files.server))) as (port, _):
        first = serial(port, files.client())
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        files.renew()
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        try:
            eventually(lambda: "the certificate stays as it was" in caplog.text)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

        eventually(lambda: serial(port, files.client()) != first)


def test_only_clients_with_a_certificate_of_the_authority_are_served(files: Certified) -> None:
    with serving(ServeSettings(certfile=str(files.server), client_ca=str(files.ca))) as (port, _):
        url = f"https://localhost:{port}/healthz"

        assert httpx.get(url, verify=files.client(files.authority)).status_code == 200
        for stranger in (files.client(), files.client(trustme.CA())):
            with pytest.raises((httpx.TransportError, ssl.SSLError)):
                httpx.get(url, verify=stranger)


def test_a_certificate_whose_key_is_another_is_refused_at_start(tmp_path: Path) -> None:
    one, other = (trustme.CA().issue_cert("localhost") for _ in range(2))
    one.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    other.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    settings = ServeSettings(certfile=str(tmp_path / "cert.pem"), keyfile=str(tmp_path / "key.pem"))

    with pytest.raises(SettingsError, match=r"serve\.certfile: .*expected a certificate and its key"), serving(settings):
        pass


def test_nothing_older_than_tls_1_2_is_spoken(files: Certified) -> None:
    assert Certificates(Files(str(files.server))).context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_behind_a_proxy_the_clients_address_and_the_path_are_the_proxys_word() -> None:
    with serving(ServeSettings(forwarded_allow_ips="127.0.0.1", root_path="/sml")) as (port, _):
        sent = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=sent) as client:
            console, docs, predicted = client.get("/"), client.get("/docs"), client.post("/v1/predict", json={"candidates": [{"id": 1}]})

    assert "strict-transport-security" in console.headers  # the client's connection is encrypted
    assert "url: '/sml/openapi.json'" in docs.text
    assert predicted.status_code == 200


def test_nobody_is_a_proxy_unless_the_settings_say_so() -> None:
    with serving() as (port, _):
        answer = httpx.get(f"http://127.0.0.1:{port}/healthz", headers={"X-Forwarded-Proto": "https"})

    assert "strict-transport-security" not in answer.headers


def test_clients_that_speak_no_tls_do_not_fill_the_log(files: Certified, caplog: pytest.LogCaptureFixture) -> None:
    with serving(ServeSettings(certfile=str(files.server))) as (port, _):
        caplog.clear()
        for _ in range(20):
            with pytest.raises(httpx.TransportError):
                httpx.get(f"http://localhost:{port}/healthz")
        assert httpx.get(f"https://localhost:{port}/healthz", verify=files.client()).status_code == 200

        assert [record for record in caplog.records if record.name in {"asyncio", "uvicorn.error"}] == []
