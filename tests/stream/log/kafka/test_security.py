"""On a real Kafka with TLS, passwords and certificates: who may come in does, who may not is told why at once, and no secret is shown."""

import datetime as dt
import http.server
import json
import logging
import threading
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, load_pem_private_key

from stream.log.connect import connect
from stream.log.contract import LogError, LogUnavailableError, Message, Record, RefusedError
from stream.log.settings import SecuritySettings
from tests.helpers.secure_kafka import PLAIN_PASSWORD, PLAIN_USER, SCRAM, SecureKafka
from tests.stream.log.logs import new_topic, read

SECRET = "correct-horse-battery"
YESTERDAY = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)


@pytest.fixture(scope="module")
def topic(secure_kafka: SecureKafka) -> str:
    """Return a topic that everybody in the tests may write and read."""
    secure_kafka.add_user("reader", SECRET)
    secure_kafka.add_user("reader", SECRET, "SCRAM-SHA-256")
    with connect(secure_kafka.url) as log:
        topic = new_topic(log)
    for user in ("reader", "mine", PLAIN_USER):
        secure_kafka.grant(f"User:{user}", "Topic", topic, "READ", "WRITE")
    return topic


def _refused(url: str, security: SecuritySettings) -> str:
    """Fail to open the log, at once, and return the sentence."""
    start = time.monotonic()
    with pytest.raises(RefusedError) as raised:
        connect(url, security=security)
    assert time.monotonic() - start < 5  # it does not wait for what waiting does not change
    return str(raised.value)


def _writes_and_reads(url: str, security: SecuritySettings, topic: str) -> None:
    with connect(url, security=security) as log:
        (offset,) = log.append([Message(topic, b"key", b"value", partition=0)])
        (record,) = read(log, topic, 1, {0: offset})
    assert record.value == b"value"


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"])
def test_a_user_writes_and_reads_by_tls_and_a_password(secure_kafka: SecureKafka, topic: str, mechanism: str) -> None:
    user, password = (PLAIN_USER, PLAIN_PASSWORD) if mechanism == "PLAIN" else ("reader", SECRET)

    _writes_and_reads(secure_kafka.urls["SASL"], secure_kafka.security(user, password, mechanism=mechanism), topic)


def test_a_user_writes_and_reads_by_a_password_without_tls(secure_kafka: SecureKafka, topic: str) -> None:
    security = SecuritySettings.model_validate({"protocol": "SASL_PLAINTEXT", "mechanism": SCRAM, "username": "reader", "password": SECRET})

    _writes_and_reads(secure_kafka.urls["CLEAR"], security, topic)


def _mutual(kafka: SecureKafka, certificate: Path | None, **more: object) -> SecuritySettings:
    given = {"protocol": "SSL", "ca_file": str(kafka.folder / "ca.pem"), "cert_file": certificate and str(certificate)}
    return SecuritySettings.model_validate(given | more)


def test_a_certificate_says_who_we_are(secure_kafka: SecureKafka, topic: str) -> None:
    certificate = secure_kafka.certificate("mine", "mine.example")

    _writes_and_reads(secure_kafka.urls["MUTUAL"], _mutual(secure_kafka, certificate), topic)


def test_a_certificate_that_is_missing_expired_or_of_another_authority_is_not_accepted(secure_kafka: SecureKafka) -> None:
    old = secure_kafka.certificate("old", "mine.example", not_after=YESTERDAY)
    foreign = secure_kafka.certificate("foreign", "mine.example", trustme.CA())

    sentences = [_refused(secure_kafka.urls["MUTUAL"], _mutual(secure_kafka, each)) for each in (None, old, foreign)]

    assert all("does not accept our certificate" in sentence and "cert_file" in sentence for sentence in sentences)


def test_an_expired_certificate_of_kafka_is_named(secure_kafka: SecureKafka) -> None:
    sentence = _refused(secure_kafka.urls["EXPIRED"], _mutual(secure_kafka, None))

    assert "certificate has expired" in sentence


def test_a_certificate_of_another_host_is_named_and_taken_only_where_names_are_not_checked(secure_kafka: SecureKafka) -> None:
    sentence = _refused(secure_kafka.urls["OTHERNAME"], _mutual(secure_kafka, None))

    assert "not valid for '127.0.0.1'" in sentence
    connect(secure_kafka.urls["OTHERNAME"], security=_mutual(secure_kafka, None, check_hostname=False)).close()


def test_an_authority_that_we_do_not_trust_is_named(secure_kafka: SecureKafka) -> None:
    sentence = _refused(secure_kafka.urls["MUTUAL"], SecuritySettings(protocol="SSL"))

    assert "ca_file" in sentence


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_wrong_password_is_refused_at_once_and_shown_to_nobody(
    secure_kafka: SecureKafka, mechanism: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    security = secure_kafka.security("reader", "wrong-" + SECRET, mechanism=mechanism)

    sentence = _refused(secure_kafka.urls["SASL"], security)

    assert "User:reader" in sentence
    assert "password" in sentence
    assert SECRET not in sentence + caplog.text + repr(security) + str(security) + security.model_dump_json()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_the_clients_own_logs_at_level_debug_hold_no_secret(
    secure_kafka: SecureKafka, topic: str, mechanism: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "kafka")  # a command that ran in this process has silenced it
    user, password = (PLAIN_USER, PLAIN_PASSWORD) if mechanism == "PLAIN" else ("reader", SECRET)

    _writes_and_reads(secure_kafka.urls["SASL"], secure_kafka.security(user, password, mechanism=mechanism), topic)

    assert "kafka" in caplog.text
    assert password not in caplog.text


@pytest.mark.usefixtures("refused")
def test_kafka_that_hangs_up_at_once_makes_one_ask_for_the_protocol(secure_kafka: SecureKafka) -> None:
    with pytest.raises(LogUnavailableError, match=r"\[log.security\] protocol"):
        connect(secure_kafka.url, security=SecuritySettings(protocol="SSL"))


def test_a_new_password_in_the_file_is_used_at_the_next_connection(secure_kafka: SecureKafka, topic: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("first\n")
    secure_kafka.add_user("rotating", "first")
    secure_kafka.grant("User:rotating", "Topic", topic, "READ", "WRITE")
    security = secure_kafka.security("rotating", "first").model_copy(update={"password": None, "password_file": str(file)})

    with connect(secure_kafka.urls["SASL"], security=security) as log:
        log.append([Message(topic, b"k", b"1")])
        secure_kafka.add_user("rotating", "second")
        log.append([Message(topic, b"k", b"2")])  # what is open stays open
        with pytest.raises(RefusedError, match="User:rotating"):
            log.reader(topic, {0: 0})
        file.write_text("second\n")
        log.reader(topic, {0: 0}).close()


def test_a_connection_that_is_lost_comes_back_with_the_new_password(secure_kafka: SecureKafka, topic: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("first")
    secure_kafka.add_user("returning", "first")
    secure_kafka.grant("User:returning", "Topic", topic, "READ", "WRITE")
    security = secure_kafka.security("returning", "first").model_copy(update={"password": None, "password_file": str(file)})

    with connect(secure_kafka.urls["SASL"], security=security) as log:
        reader = log.reader(topic, {0: log.bounds(topic)[0].end})
        reader.poll(1, 0.2)
        secure_kafka.add_user("returning", "second")
        file.write_text("second")
        _break(reader)
        log.append([Message(topic, b"k", b"after", partition=0)])
        records = _poll(reader, 20)
        reader.close()
    assert [record.value for record in records] == [b"after"]


@pytest.mark.filterwarnings("ignore:unclosed <ssl:ResourceWarning")
@pytest.mark.usefixtures("refused")
def test_a_reader_that_is_not_let_in_again_says_so(secure_kafka: SecureKafka, topic: str) -> None:
    secure_kafka.add_user("leaving", "first")
    secure_kafka.grant("User:leaving", "Topic", topic, "READ", "WRITE")

    with connect(secure_kafka.urls["SASL"], security=secure_kafka.security("leaving", "first")) as log:
        reader = log.reader(topic, {0: log.bounds(topic)[0].end})
        reader.poll(1, 0.2)
        secure_kafka.add_user("leaving", "second")
        _break(reader)
        with pytest.raises(RefusedError, match="User:leaving"):
            _poll(reader, 20)
        reader.close()


def _poll(reader: Any, seconds: float) -> list[Record]:
    deadline = time.monotonic() + seconds
    records: list[Record] = []
    while not records and time.monotonic() < deadline:
        records = reader.poll(10, 0.5)
    return records


def _break(reader: Any) -> None:
    """Close a reader's connections, as a broker does that is restarted."""
    client = reader._consumer._client
    for conn in list(client._manager._conns.values()):
        client._manager.call_soon(conn.close)


class _Tokens(http.server.BaseHTTPRequestHandler):
    """Answers with a token that Kafka's own test mode takes: unsigned, for the client's id."""

    def do_POST(self) -> None:
        kind, given = self.headers["Authorization"].split()
        name, secret = b64decode(given).decode().split(":")
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        fine = (kind, secret) == ("Basic", SECRET) and "grant_type=client_credentials" in form
        now = int(time.time())
        body = {"access_token": _unsigned({"sub": name, "iat": now, "exp": now + 3600}), "expires_in": 3600} if fine else {"error": "no"}
        self.send_response(200 if fine else 401)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _unsigned(claims: dict[str, Any]) -> str:
    parts = ({"alg": "none"}, claims)
    return ".".join(urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


@pytest.fixture
def token_url() -> Iterator[str]:
    """Yield where tokens are had."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Tokens) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/token"
        server.shutdown()
        thread.join()


def test_a_token_lets_us_in_and_a_wrong_secret_is_told(secure_kafka: SecureKafka, topic: str, token_url: str) -> None:
    security = secure_kafka.security("reader", SECRET, mechanism="OAUTHBEARER", token_url=token_url)

    _writes_and_reads(secure_kafka.urls["SASL"], security, topic)
    sentence = _refused(secure_kafka.urls["SASL"], secure_kafka.security("reader", "x", mechanism="OAUTHBEARER", token_url=token_url))

    assert f"no token from {token_url}, which answers with status 401" in sentence


def test_a_file_that_does_not_hold_what_it_should_is_named(secure_kafka: SecureKafka, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "rubbish.pem").write_text("rubbish")
    good = secure_kafka.security("reader", SECRET)
    cases = {
        "password_file": good.model_copy(update={"password": None, "password_file": str(tmp_path / "empty")}),
        "password_file: got": good.model_copy(update={"password": None, "password_file": str(tmp_path / "none")}),
        "ca_file": good.model_copy(update={"ca_file": str(tmp_path / "rubbish.pem")}),
        "cert_file": good.model_copy(update={"cert_file": str(tmp_path / "rubbish.pem")}),
    }

    for named, security in cases.items():
        with pytest.raises(LogError, match=named):
            connect(secure_kafka.urls["SASL"], security=security)


def test_an_encrypted_key_is_opened_by_its_password_and_never_asked_for_on_the_terminal(
    secure_kafka: SecureKafka, topic: str, tmp_path: Path
) -> None:
    certificate = secure_kafka.certificate("mine", "mine.example")
    key = load_pem_private_key(certificate.read_bytes(), None)
    locked = tmp_path / "key.pem"
    locked.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(SECRET.encode())))

    _writes_and_reads(secure_kafka.urls["MUTUAL"], _mutual(secure_kafka, certificate, key_file=str(locked), key_password=SECRET), topic)
    with pytest.raises(LogError, match="key_password"):
        connect(secure_kafka.urls["MUTUAL"], security=_mutual(secure_kafka, certificate, key_file=str(locked)))


def test_aws_needs_its_package_and_says_so(secure_kafka: SecureKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.log.kafka.security.find_spec", lambda _package: None)
    given = {"protocol": "SASL_SSL", "mechanism": "AWS_MSK_IAM", "ca_file": str(secure_kafka.folder / "ca.pem")}

    with pytest.raises(LogError, match="pip install botocore"):
        connect(secure_kafka.urls["SASL"], security=SecuritySettings.model_validate(given))
