"""What we show Kafka as who we are, as files and a token's server hold it now: a password, a token, a certificate."""

import ssl
import time
from pathlib import Path

import httpx
from kafka import errors
from kafka.net.sasl.oauth import AbstractTokenProvider

from stream.log.contract import LogError
from stream.log.settings import SecuritySettings

_TOKEN_TIMEOUT = 5.0  # seconds that the token's server may take
_TOKEN_MARGIN = 30.0  # seconds before a token's end at which it is no longer used


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]
    """Exchanges the client's id and secret for a token (OAuth's client credentials), and keeps it until shortly before its end."""

    def __init__(self, security: SecuritySettings) -> None:
        self._security = security
        self._kept: tuple[str, float] | None = None  # the token, and until when it is used

    def token(self) -> str:
        """Return a token.

        Raises:
            SaslAuthenticationFailedError: its server gives none.
            KafkaConnectionError: its server can't be reached.
        """
        if self._kept is None or time.monotonic() > self._kept[1]:
            self._kept = self._fetch()
        return self._kept[0]

    def _fetch(self) -> tuple[str, float]:
        form = {"grant_type": "client_credentials"} | ({"scope": self._security.scope} if self._security.scope else {})
        url, who = str(self._security.token_url), (self._security.username or "", password_of(self._security))
        try:
            answer = httpx.post(url, data=form, auth=who, timeout=_TOKEN_TIMEOUT, verify=_trust(self._security, also=True))
        except (httpx.HTTPError, LogError) as error:
            raise errors.KafkaConnectionError(f"no token from {url}: {error}") from error
        try:
            found = answer.raise_for_status().json()
            return str(found["access_token"]), time.monotonic() + float(found.get("expires_in", 0)) - _TOKEN_MARGIN
        except (httpx.HTTPStatusError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise errors.SaslAuthenticationFailedError(f"no token from {url}, which answers with status {answer.status_code}") from error


def password_of(security: SecuritySettings) -> str:
    """Return the password, from its file if it has one.

    Raises:
        LogError: the file can't be read.
    """
    if security.password_file:
        return _secret(security.password_file, "password_file")
    return security.password.get_secret_value() if security.password else ""


def _secret(path: str, setting: str) -> str:
    """Return what a file holds, without the end of its line."""
    try:
        found = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise LogError(f"[log.security] {setting}: got {path}: {error.strerror}, expected a file that can be read") from error
    except UnicodeDecodeError:
        found = ""
    if not found:
        raise LogError(f"[log.security] {setting}: got {path}, expected a secret in it, in UTF-8")
    return found


def tls_context(security: SecuritySettings) -> ssl.SSLContext:
    """Return whom we trust, and the certificate that we show.

    Raises:
        LogError: a file can't be read, or does not hold what it should.
    """
    context = _trust(security)
    context.check_hostname = security.check_hostname
    if security.cert_file:
        given = security.key_password.get_secret_value() if security.key_password else ""
        secret = _secret(security.key_password_file, "key_password_file") if security.key_password_file else given
        try:
            # Without a password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(security.cert_file, security.key_file, secret)
        except OSError as error:  # ssl.SSLError is one
            wanted = "expected a certificate and its private key in PEM, readable, and key_password if the key is encrypted"
            got = f"{security.cert_file} and {security.key_file or 'the same file'}"
            raise LogError(f"[log.security] cert_file, key_file: got {got}: {error.strerror or error}; {wanted}") from error
    return context


def _trust(security: SecuritySettings, *, also: bool = False) -> ssl.SSLContext:
    """Return a context that trusts ``ca_file`` instead of the machine's authorities, or ``also``."""
    context = ssl.create_default_context() if also or not security.ca_file else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if security.ca_file:
        try:
            context.load_verify_locations(security.ca_file)
        except OSError as error:
            raise LogError(
                f"[log.security] ca_file: got {security.ca_file}: {error.strerror or error}, expected certificates in PEM"
            ) from error
    return context
