"""The settings of the server: where it listens, who may do what, how much it takes, and what of it is traced or personal."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field as Setting, model_validator

from service.access.addresses import is_local, is_trusted_url, networks, split
from service.setting_errors import SettingsError
from stream.log.settings import Duration, Port, Section

# An empty text is a mistake, such as a variable without a value, and must not count as none.
Named = Annotated[str, Setting(min_length=1)]


def _check_issuer(url: str | None) -> str | None:
    if url is None or is_trusted_url(url):
        return url
    raise ValueError("https://…, or http:// on this machine")


def _check_networks(written: str) -> str:
    try:
        networks(split(written))
    except ValueError as error:
        raise ValueError("addresses or networks, separated by commas, or *") from error
    return written


class ServeSettings(Section):
    """Where the server listens."""

    host: str = "127.0.0.1"
    """the address to listen on; 0.0.0.0 for every interface, which needs keys, an issuer, or --insecure"""
    port: Port = 8000
    """the port of the API, /metrics and /docs"""
    grpc_port: Port | None = None
    """the port of the Open Inference Protocol over gRPC, which needs the extra sml-online[grpc]; none: it is served over HTTP alone"""
    hosts: tuple[str, ...] = ()
    """the names by which clients know this server, joiner and learner; localhost, the listen address and bare addresses always count"""
    certfile: Named | None = None
    """the server's certificate chain, PEM; read again when it changes"""
    keyfile: Named | None = None
    """the certificate's private key, PEM, if certfile does not hold it"""
    client_ca: Named | None = None
    """clients must have certificates of these authorities, PEM"""
    forwarded_allow_ips: Annotated[str, AfterValidator(_check_networks)] = ""
    """the proxies whose X-Forwarded-For and X-Forwarded-Proto count: addresses or networks, separated by commas"""
    root_path: str = ""
    """the path at which a proxy serves this server, which it removes: /sml"""

    explore: Literal["none", "epsilon", "thompson"] = "epsilon"
    """how the choices that requests ask for explore; thompson: each candidate as often as it may be the best, by [model] records"""
    epsilon: Annotated[float, Setting(ge=0, le=1)] = 0.0
    """of those choices: how many are made at random, where explore is epsilon"""
    log_requests: Literal["none", "lines", "bodies"] = "none"
    """whether each request is logged: not at all, a line without what it asks, or with its body, features included"""

    @model_validator(mode="after")
    def _epsilon_explores(self) -> Self:
        if self.epsilon and self.explore != "epsilon":
            raise ValueError(f"explore to be epsilon, where epsilon is {self.epsilon:g}, or epsilon to be 0")
        return self

    @model_validator(mode="after")
    def _certificate_is_whole(self) -> Self:
        if (self.keyfile or self.client_ca) and not self.certfile:
            raise ValueError("certfile, where keyfile or client_ca is given")
        return self

    @property
    def url(self) -> str:
        """The address at which programs on this machine reach the server."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 - compared, not bound
        return f"{'https' if self.certfile else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"


class AccessSettings(Section):
    """Who may do what. Without keys and without an issuer everybody may do everything, on this machine only."""

    keys: Named | None = None
    """the file of API keys that `sml keys create` writes"""
    issuer: Annotated[str | None, AfterValidator(_check_issuer)] = None
    """the URL of an OpenID Connect issuer whose tokens count, too; their claim roles, or scope, names predict, ingest, operate, read"""
    audience: Named | None = None
    """what a token must be meant for"""
    insecure: bool = False
    """whether everybody who reaches an address of the network may do everything there: only where the network itself is guarded"""

    @model_validator(mode="after")
    def _issuer_is_whole(self) -> Self:
        if bool(self.issuer) != bool(self.audience):
            raise ValueError("issuer and audience together")
        return self

    @property
    def open(self) -> bool:
        """Whether nobody needs a key or token."""
        return self.keys is None and self.issuer is None

    def check_address(self, setting: str, host: str) -> None:
        """Refuse to listen where others are, unless it is known who may do what.

        Raises:
            SettingsError: nobody would need a key, and nobody has said that this is meant.
        """
        if self.open and not self.insecure and not is_local(host):
            raise SettingsError(
                f"{setting}: got {host!r} without [access] keys or issuer, expected 127.0.0.1, or keys (`sml keys create`), "
                "or --insecure (SML_ACCESS__INSECURE=true) where the network itself is guarded"
            )


class LimitSettings(Section):
    """How much the server takes; what is more is refused, and the answer says so."""

    body: Annotated[int, Setting(ge=1_024)] = 1_048_576
    """the bytes of a request's body"""
    requests_per_second: Annotated[float, Setting(ge=1)] = 2_000.0
    """of one key or token; where nobody needs one, of one client address"""
    in_flight: Annotated[int, Setting(ge=1)] = 200
    """how many requests of one key, token or address are answered at one time"""
    connections: Annotated[int, Setting(ge=2)] = 1_000
    """how many clients may be connected; one address may take half of them"""
    receive_timeout: Duration = 20.0
    """the time that a client has to send a request's head, and again its body, and to take the answer"""


class TraceSettings(Section):
    """Whether requests are traced, on their way through the log to the weights that have learned them."""

    endpoint: Named | None = None
    """where spans go, by OTLP over HTTP: http://localhost:4318, which needs the extra sml-online[trace]; none: nothing is traced"""


class PrivacySettings(Section):
    """What is personal."""

    fields: tuple[str, ...] = ()
    """the fields that carry personal data: what `sml forget` and DELETE /v1/users forget if no field is named"""
