"""The settings of the log, and what every table of ``sml.toml`` is made of.

Durations are written as ``100ms``, ``30s``, ``10m``, ``1h`` or ``2d``, and are seconds in the program.
"""

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field as Setting, PlainSerializer, SecretStr, model_validator

from stream.log.contract import Partitioner
from stream.log.topics import DEAD_LETTER_BYTES, MONTH, WEEK, WEIGHTS_RETENTION

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")


def parse_duration(value: Any) -> float:
    """Parse ``"10m"`` as 600 seconds; a number is seconds already.

    >>> parse_duration("100ms")
    0.1
    """
    written = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if written:
        number, unit = float(written[1]), written[2]
        return number / 1_000 if unit == "ms" else number * _UNITS[unit]
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf:
        return float(value)
    raise ValueError("a duration such as 100ms, 30s, 10m, 1h or 2d")


def format_duration(seconds: float) -> str:
    """Format seconds in the largest unit that divides them, for :func:`parse_duration` to parse.

    >>> format_duration(600)
    '10m'
    """
    for unit in ("d", "h", "m", "s"):
        if seconds >= _UNITS[unit] and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    return f"{seconds * 1_000:.15g}ms" if seconds < 1 else f"{seconds!r}s"


def _check_url(url: str) -> str:
    if re.fullmatch(r"sqlite:///.+|kafka://[^/@\s]+", url):
        return url
    raise ValueError("sqlite:///path/to/log.db or kafka://host:9092")


Duration = Annotated[float, BeforeValidator(parse_duration), PlainSerializer(format_duration)]
Port = Annotated[int, Setting(ge=0, le=65_535)]


class Section(BaseModel):
    """One table of ``sml.toml``: validated, immutable, without unknown keys. The text below a setting is its description."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class SecuritySettings(Section):
    """How to reach a Kafka that wants TLS, a password or a token. A secret is never shown."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """what Kafka's listener speaks: SSL is TLS, SASL a password or token: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"""
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "AWS_MSK_IAM"] | None = None
    """of SASL: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or AWS_MSK_IAM (by AWS's own credentials)"""
    username: str | None = None
    """of PLAIN and SCRAM; of OAUTHBEARER the client's id"""
    password: SecretStr | None = None
    """of the user, or the client's secret: better in SML_LOG__SECURITY__PASSWORD, or in password_file, than here"""
    password_file: str | None = None
    """a file that holds the password, read again for each new connection"""
    token_url: Annotated[str, Setting(pattern=r"^https?://[^@\s]+$")] | None = None
    """of OAUTHBEARER: where the client's id and secret are exchanged for a token"""
    scope: str | None = None
    """of OAUTHBEARER: what the token is asked for"""
    ca_file: str | None = None
    """of TLS: certificates (PEM) of those who may sign Kafka's; by default those that this machine trusts"""
    cert_file: str | None = None
    """of TLS: our own certificate and its chain (PEM), if Kafka asks for one"""
    key_file: str | None = None
    """of TLS: the private key of cert_file, if it is not in the same file"""
    key_password: SecretStr | None = None
    """of TLS: what the private key is encrypted with: better in SML_LOG__SECURITY__KEY_PASSWORD, or in key_password_file, than here"""
    key_password_file: str | None = None
    """of TLS: a file that holds key_password"""
    check_hostname: bool = True
    """of TLS: whether Kafka's certificate must bear the name that we call it by; else whoever has one of that CA can pose as Kafka"""

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.protocol in {"SSL", "SASL_SSL"}

    @property
    def sasl(self) -> bool:
        """Whether we log in."""
        return self.protocol in {"SASL_PLAINTEXT", "SASL_SSL"}

    @model_validator(mode="after")
    def _fit_the_protocol(self) -> Self:
        """Refuse what would silently have no effect: it was meant to protect."""
        of_tls = ("ca_file", "cert_file", "key_file", "key_password", "key_password_file")
        unused = [name for name in of_tls if not self.tls and getattr(self, name)]
        if unused:
            raise ValueError(f"protocol SSL or SASL_SSL, where {unused[0]} is given")
        if self.sasl != (self.mechanism is not None):
            raise ValueError("protocol SASL_SSL or SASL_PLAINTEXT together with a mechanism: both or neither")
        if self.mechanism == "AWS_MSK_IAM" and self.protocol != "SASL_SSL":
            raise ValueError("protocol SASL_SSL, where mechanism is AWS_MSK_IAM")
        if (self.key_file or self.key_password or self.key_password_file) and not self.cert_file:
            raise ValueError("cert_file, where its key or key_password is given")
        if self.key_password and self.key_password_file:
            raise ValueError("key_password or key_password_file, not both")
        return self

    @model_validator(mode="after")
    def _name_the_user(self) -> Self:
        if self.password and self.password_file:
            raise ValueError("password or password_file, not both")
        if (self.token_url is not None) != (self.mechanism == "OAUTHBEARER"):
            raise ValueError("token_url, where mechanism is OAUTHBEARER, and nowhere else")
        named = bool(self.username and (self.password or self.password_file))
        if self.sasl and self.mechanism != "AWS_MSK_IAM" and not named:
            raise ValueError(f"username, and password or password_file, where mechanism is {self.mechanism}")
        return self


class LogSettings(Section):
    """Where the log is."""

    url: Annotated[str, AfterValidator(_check_url)] = "sqlite:///data/log.db"
    """sqlite:///path/to/log.db or kafka://host:9092"""
    security: SecuritySettings = SecuritySettings()
    """how to reach a Kafka that wants TLS, a password or a token"""
    prefix: Annotated[str, Setting(pattern=r"^[A-Za-z0-9._-]+$")] = "sml"
    """topics are PREFIX.impressions, PREFIX.clicks, …"""
    partitions: Annotated[int, Setting(ge=1)] = 1
    """of impressions, clicks and examples, when `sml topics create` creates them"""
    partitioner: Partitioner = "murmur2"
    """how we choose a partition by the key: murmur2 as Java's clients do, crc32 as librdkafka's do (kcat, Python, Go, Node, .NET)"""
    retention: Duration = WEEK
    """how long impressions, clicks, examples and versions are kept; `sml topics update` changes topics that exist"""
    dead_letter_retention: Duration = MONTH
    """how long dead letters are kept"""
    dead_letter_bytes: Annotated[int, Setting(ge=1_000_000)] = DEAD_LETTER_BYTES
    """the most bytes of dead letters: above it the oldest go first"""
    weights_retention: Annotated[Duration, Setting(ge=1)] = WEIGHTS_RETENTION
    """how long deltas and snapshots of the weights are kept; a snapshot is written four times in it, even if nothing is learned"""

    @property
    def embedded(self) -> bool:
        """Whether the log is a file of this machine."""
        return self.file is not None

    @property
    def file(self) -> Path | None:
        """The file of an embedded log; None: the log is Kafka's."""
        return Path(self.url.removeprefix("sqlite:///")) if self.url.startswith("sqlite:") else None
