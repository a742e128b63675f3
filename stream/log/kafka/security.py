"""How kafka-python is let in by a Kafka that wants TLS, a password or a token, and its refusals as sentences.

A sentence names the right that is missing, or the setting to look at. Secrets (:mod:`stream.log.kafka.credentials`) are read again for
each connection, and go to the connections only: the clients log their own settings, and their connections at level DEBUG every byte
that they send.
"""

import logging
import ssl
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

from kafka import errors
from kafka.net.inet import create_connection
from kafka.net.manager import KafkaConnectionManager
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport

from stream.log.contract import LogError
from stream.log.kafka.credentials import TokenProvider, password_of, tls_context
from stream.log.settings import SecuritySettings

_ALERTS = {  # part of OpenSSL's reason → what to do
    "CERTIFICATE_REQUIRED": "Kafka asks for a certificate of ours: [log.security] cert_file and key_file",
    "CERTIFICATE_EXPIRED": "our certificate has expired: [log.security] cert_file",
    "UNKNOWN_CA": "Kafka does not trust who signed our certificate: [log.security] cert_file",
    "CERTIFICATE_UNKNOWN": "Kafka does not accept our certificate: is it expired, or signed by another? [log.security] cert_file",
    "BAD_CERTIFICATE": "Kafka does not accept our certificate, or asks for one: [log.security] cert_file and key_file",
    "WRONG_VERSION_NUMBER": "that port speaks no TLS: [log] url, or [log.security] protocol",
}

for _name in ("kafka.net.connection", "kafka.protocol.parser"):
    logging.getLogger(_name).addFilter(lambda record: record.levelno > logging.DEBUG)


class TlsError(errors.KafkaError):  # type: ignore[misc]  # it has no types
    """One side does not accept the other's certificate."""


REFUSALS = (
    TlsError,
    errors.AuthorizationError,
    errors.SaslAuthenticationFailedError,
    errors.UnsupportedSaslMechanismError,
    errors.IllegalSaslStateError,
)


class Cluster(NamedTuple):
    """The servers to ask first, and who we are to them."""

    servers: tuple[str, ...]
    security: SecuritySettings = SecuritySettings()

    @property
    def principal(self) -> str:
        """Who we are in Kafka's access control lists."""
        if self.security.sasl:
            return f"User:{self.security.username or 'by AWS'}"
        return f"whom {self.security.cert_file} names" if self.security.cert_file else "User:ANONYMOUS"

    def credentials(self) -> dict[str, object]:
        """Return a connection's settings, with the secrets as their files hold them now.

        Raises:
            LogError: a file can't be read, or does not hold what it should.
        """
        of = self.security
        found: dict[str, object] = {"security_protocol": of.protocol, "sasl_mechanism": of.mechanism}
        if of.tls:
            found["ssl_context"] = tls_context(of)
        if of.mechanism == "OAUTHBEARER":
            found["sasl_oauth_token_provider"] = TokenProvider(of)
        elif of.mechanism == "AWS_MSK_IAM" and find_spec("botocore") is None:
            raise LogError("[log.security] mechanism: got AWS_MSK_IAM, expected the package that it needs: pip install botocore")
        elif of.sasl and of.username:
            found |= {"sasl_plain_username": of.username, "sasl_plain_password": password_of(of)}
        return found

    def refusal(self, error: Exception, right: str, resource: str) -> str:
        """Return a sentence about an error among ``REFUSALS``.

        Args:
            error: What Kafka says.
            right: What was being done.
            resource: To what, if the error does not say.
        """
        topic = isinstance(error, errors.ClusterAuthorizationFailedError) and right == "WRITE"  # Kafka names no topic then
        if topic or isinstance(error, errors.TopicAuthorizationFailedError):
            return f"the principal {self.principal} lacks {right} on topic {_named(error, resource)}"
        if isinstance(error, errors.GroupAuthorizationFailedError):
            return f"the principal {self.principal} lacks {'READ' if right == 'WRITE' else right} on group {resource}"
        if isinstance(error, errors.TransactionalIdAuthorizationFailedError):
            return f"the principal {self.principal} lacks WRITE on transactional id {resource}"
        if isinstance(error, errors.AuthorizationError):
            return f"the principal {self.principal} lacks {right} on the cluster: {error!r}"
        if isinstance(error, TlsError):
            return str(error.args[0])
        expected = f"expected a username and a password that Kafka knows for {self.security.mechanism}"
        return f"Kafka does not let {self.principal} in: {expected} ([log.security] mechanism, username, password): {error}"


class Connections(KafkaConnectionManager):  # type: ignore[misc]
    """Opens each connection with the credentials of that moment, and remembers why Kafka refused the last one."""

    def __init__(self, net: Any, cluster: Cluster, **settings: Any) -> None:
        self._cluster = cluster
        self.trouble: BaseException | None = None  # why the last connection could not be opened
        self.refusal: Exception | None = None  # the last one, since a connection was opened
        super().__init__(net, **settings)

    def get_connection(self, node_id: Any, *rest: Any, **options: Any) -> Any:
        """Return the connection to a node; a first attempt that was refused is the last, a later one need not be."""
        if self.refusal is not None and not self.bootstrapped:
            raise self.refusal
        if node_id is not None and node_id not in self._conns and self._cluster.security.protocol != "PLAINTEXT":
            try:
                self.config.update(self._cluster.credentials())
            except LogError as error:  # a file is being replaced: the credentials we had may do
                logging.getLogger(__name__).warning("going on with the credentials of before: %s", error)
        return super().get_connection(node_id, *rest, **options)

    async def _build_transport(self, node: Any, timeout_at: float | None = None) -> Any:
        """Connect to ``node`` as the base does, but close what can't be used."""
        options, proxy = self.config["socket_options"], self.config["proxy_url"]
        socket = await create_connection(self._net, node.host, node.port, options, proxy_url=proxy, timeout_at=timeout_at)
        if self.ssl_enabled:
            transport = KafkaSSLTransport(self._net, socket, host=node.host, ssl_context=self.config["ssl_context"])
        else:
            transport = KafkaTCPTransport(self._net, socket, host=node.host)
        try:
            await transport.handshake()
        except OSError as error:  # ssl.SSLError is one
            transport.close()
            raise errors.KafkaConnectionError(f"Handshake failed: {error}") from error
        transport._sock_recv = _data_first(transport._sock_recv)  # noqa: SLF001
        return transport

    async def _connect(self, node: Any, conn: Any, *rest: Any, **options: Any) -> None:
        await super()._connect(node, conn, *rest, **options)
        if conn.init_future.is_done:
            self.trouble = error = conn.init_future.exception
            refusal = error if isinstance(error, REFUSALS) else _tls_error(error, node)
            self.refusal = refusal if refusal or error is None else self.refusal


def _data_first(receive: Callable[[], tuple[bytes, Any]]) -> Callable[[], tuple[bytes, Any]]:
    """Let the client see what came before the end of a connection: it drops that, and with it why Kafka refused it."""
    ended: list[Any] = []

    def received() -> tuple[bytes, Any]:
        data, error = (b"", ended.pop()) if ended else receive()
        if data and error:
            ended.append(error)
            return data, None
        return data, error

    return received


def _tls_error(error: BaseException | None, node: Any) -> TlsError | None:
    """Return what went wrong with TLS on the way to ``node``, if that was it."""
    causes = [error, getattr(error, "__context__", None), *getattr(error, "args", ())]
    cause = next((each for each in causes if isinstance(each, ssl.SSLError)), None)
    if cause is None:
        return None
    where = f"TLS with {node.host}:{node.port} failed"
    if isinstance(cause, ssl.SSLCertVerificationError):
        wanted = f"a certificate for {node.host} that is valid now and signed by one of [log.security] ca_file"
        return TlsError(f"{where}: Kafka's certificate is not accepted: {cause.verify_message}; expected {wanted}")
    hints = [hint for reason, hint in _ALERTS.items() if reason in str(cause.reason)]
    return TlsError(f"{where}: {hints[0]} ({cause.reason})") if hints else None


def _named(error: Exception, otherwise: str) -> str:
    """Return the topics that an error holds: one, or a set of them; or else what was asked for."""
    found = error.args[0] if error.args else otherwise
    names = sorted(map(str, found)) if isinstance(found, set | frozenset) else [str(found)]
    return ", ".join(names) if all(name and " " not in name for name in names) else otherwise
