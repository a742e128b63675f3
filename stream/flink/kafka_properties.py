"""The settings of the log as those of Kafka's Java clients."""

from pathlib import Path

from pydantic import SecretStr

from stream.log.contract import LogError
from stream.log.settings import LogSettings, SecuritySettings


class NotForJavaError(LogError):
    """Kafka's Java clients can't be set as the log's settings ask."""


def kafka_properties(log: LogSettings) -> dict[str, str]:
    """Return the properties, secrets included.

    Raises:
        NotForJavaError: a setting has no equal there.
    """
    of = log.security
    properties = {"bootstrap.servers": log.url.removeprefix("kafka://"), "security.protocol": of.protocol}
    if of.tls:
        properties |= _tls(of)
    if of.mechanism:
        properties |= _sasl(of)
    return properties


def _tls(of: SecuritySettings) -> dict[str, str]:
    properties: dict[str, str] = {}
    if of.ca_file:
        properties |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": of.ca_file}
    if of.cert_file:
        key = Path(of.key_file or of.cert_file).read_text(encoding="utf-8")
        chain = Path(of.cert_file).read_text(encoding="utf-8")
        properties |= {"ssl.keystore.type": "PEM", "ssl.keystore.key": key, "ssl.keystore.certificate.chain": chain}
    if password := _secret(of.key_password, of.key_password_file):
        properties["ssl.key.password"] = password
    if not of.check_hostname:
        properties["ssl.endpoint.identification.algorithm"] = ""
    return properties


def _sasl(of: SecuritySettings) -> dict[str, str]:
    if of.mechanism not in {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}:
        raise NotForJavaError(f"log.security.mechanism: got {of.mechanism}, expected PLAIN or SCRAM with --engine flink")
    module = "plain.PlainLoginModule" if of.mechanism == "PLAIN" else "scram.ScramLoginModule"
    password = _secret(of.password, of.password_file)
    login = f"org.apache.kafka.common.security.{module} required username={_quoted(of.username)} password={_quoted(password)};"
    return {"sasl.mechanism": of.mechanism, "sasl.jaas.config": login}


def _secret(value: SecretStr | None, file: str | None) -> str | None:
    if file:
        return Path(file).read_text(encoding="utf-8").strip()
    return value.get_secret_value() if value else None


def _quoted(value: str | None) -> str:
    return '"' + (value or "").replace("\\", "\\\\").replace('"', '\\"') + '"'
