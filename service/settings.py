"""All settings: ``sml.toml``, overridden by environment variables such as ``SML_LOG__URL``.

All are validated when they are read. Every error names the setting, what was received and what was expected; for an unknown setting
it names the nearest known one.
"""

import difflib
import math
import os
import reprlib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, Field as Setting, PrivateAttr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError as VariableError

from model.settings import Field, ModelSettings, Spec, TableSettings, check_crosses
from service import arm_settings
from service.access.addresses import is_local, is_trusted_url, networks, split
from service.arm_settings import ArmSettings, ExperimentSettings
from stream.arms import Traffic
from stream.input_settings import InputSettings
from stream.log.settings import Duration, LogSettings, Port, Section, format_duration
from stream.log.topics import CONTROL, Kept, Topics, wanted
from stream.settings import ArchiveSettings, DataSettings, JoinSettings, LearnSettings, least_retention

_NO_SECRETS = {"protocol", "mechanism", "check_hostname"}  # settings of [log.security] that can be shown, whatever stands there


_UNTIMED_DELAY = 50  # rows: those of one page, shown together, tell nothing of each other


class SettingsError(Exception):
    """The settings can't be used; commands exit with status 2."""


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


class Settings(BaseSettings):
    """The settings of ``sml.toml``; environment variables override it."""

    model_config = SettingsConfigDict(env_prefix="SML_", env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True)

    log: LogSettings = LogSettings()
    model: ModelSettings = ModelSettings()
    table: TableSettings = TableSettings()
    join: JoinSettings = JoinSettings()
    learn: LearnSettings = LearnSettings()
    archive: ArchiveSettings = ArchiveSettings()
    serve: ServeSettings = ServeSettings()
    privacy: PrivacySettings = PrivacySettings()
    access: AccessSettings = AccessSettings()
    limits: LimitSettings = LimitSettings()
    trace: TraceSettings = TraceSettings()
    data: DataSettings = DataSettings()
    input: InputSettings = InputSettings()
    experiment: ExperimentSettings = ExperimentSettings()
    arms: dict[arm_settings.Name, ArmSettings] = {}
    field: tuple[Field, ...] = ()
    _arm: str = PrivateAttr(default=CONTROL)
    _of_all: "Settings | None" = PrivateAttr(default=None)  # those of an arm: those that they are taken from

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the names are pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Rank the environment above the file."""
        return env_settings, init_settings

    @model_validator(mode="before")
    @classmethod
    def _arms_inherit(cls, data: dict[str, Any]) -> dict[str, Any]:
        return arm_settings.inherit(data)

    @model_validator(mode="after")
    def _arms_fit(self) -> Self:
        arm_settings.check(self.arms, self.experiment, self.join)
        return self

    @field_validator("field")
    @classmethod
    def _names_differ(cls, fields: tuple[Field, ...]) -> tuple[Field, ...]:
        names = [field.name for field in fields]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"each name once, but {', '.join(sorted(twice))} stands there again")
        check_crosses(fields)
        return fields

    @model_validator(mode="after")
    def _personal_fields_exist(self) -> Self:
        kinds = {field.name: field.kind for field in self.field}
        wrong = [name for name in self.privacy.fields if kinds.get(name) not in ("categorical", "multi")]
        if wrong:
            raise ValueError(f"privacy.fields to be fields of kind categorical or multi, got {', '.join(wrong)}")
        crossed = [name for name in self.privacy.fields if any(name in field.of for field in self.field)]
        if crossed:
            raise ValueError(
                f"privacy.fields to be fields of which no cross is made, got {', '.join(crossed)}: its rows can't be forgotten"
            )
        return self

    @model_validator(mode="after")
    def _slices_are_few_and_not_personal(self) -> Self:
        kinds = {field.name: field.kind for field in self.field}
        wrong = [name for name in self.learn.slices if kinds.get(name) not in ("categorical", "weekday") or name in self.privacy.fields]
        if wrong:
            raise ValueError(
                f"learn.slices to be fields of kind categorical or weekday that are not in privacy.fields, got {', '.join(wrong)}"
            )
        return self

    @model_validator(mode="after")
    def _input_is_rekeyed(self) -> Self:
        ours = {topic.name for topic in wanted(self.topics, 1, Kept(), rekey=True, arms=tuple(self.arms))} | {self.topics.arms}
        if wrong := ours & set(self.input.topics):
            raise ValueError(f"input: got the topic {', '.join(sorted(wrong))}, expected one of your site's: this one is the model's own")
        if self.input.topics and not self.join.rekey:
            raise ValueError("join.rekey: got false, expected true where there is [input]: what it gives is written to the topics …-by-id")
        return self

    @model_validator(mode="after")
    def _thompson_has_records(self) -> Self:
        models = {f"arms.{name}.model": arm.model for name, arm in self.arms.items()} or {"model": self.model}
        without = [name for name, model in models.items() if not model.records]
        if self.serve.explore == "thompson" and without:
            raise ValueError(f"serve.explore: got 'thompson', expected records = true in {', '.join(without)}: they say how sure it is")
        return self

    @model_validator(mode="after")
    def _keep_what_a_restart_needs(self) -> Self:
        least = least_retention(self.log, self.join, self.learn)
        minutes = 60 * math.ceil(least / 60)
        for name in {"retention", "dead_letter_retention"} & self.log.model_fields_set:
            seconds = getattr(self.log, name)
            if seconds < least:
                raise ValueError(
                    f"log.{name}: got {format_duration(seconds)}, expected at least {format_duration(minutes)}, which a restart needs by "
                    "click_window, lateness, clock_skew, idle_after, keep, checkpoint_every, snapshot_every and weights_retention"
                )
        return self

    @property
    def kept(self) -> Kept:
        """How long the topics keep their records: as the settings say; where they say nothing, never less than a restart needs."""
        least = least_retention(self.log, self.join, self.learn)
        records, letters = max(self.log.retention, least), max(self.log.dead_letter_retention, least)
        return Kept(records, letters, self.log.dead_letter_bytes, self.log.weights_retention)

    def of_arm(self, name: str | None) -> Self:
        """Return the settings of an arm: of control if no name is given.

        Raises:
            SettingsError: there is no such arm.
        """
        if not self.arms and name in {None, CONTROL}:
            return self
        name = name or CONTROL
        if name not in self.arms:
            raise SettingsError(f"arms: got {name!r}, expected {' or '.join(self.arms) or f'[arms.{name}] in the settings'}")
        arm, port, folder = self.arms[name], self.learn.metrics_port, Path(self.learn.directory)
        learn = {
            "directory": str(folder if name == CONTROL else folder / name),
            "metrics_port": port and port + 10 * list(self.arms).index(name) if arm.metrics_port is None else arm.metrics_port,
        }
        own = self.model_copy(
            update={
                "model": arm.model,
                "table": arm.table,
                "join": self.join.model_copy(update={"label_policy": arm.join.label_policy}),
                "learn": self.learn.model_copy(update=learn),
            }
        )
        own._arm, own._of_all = name, self._of_all or self  # noqa: SLF001 - its own, of the same class
        return own

    @property
    def begin_from(self) -> "Settings | None":
        """The settings of the arm that this one begins from."""
        name = self.arms[self._arm].begin_from if self.arms else None
        return self._of_all.of_arm(name) if name and self._of_all else None

    def of_every_arm(self) -> list[Self]:
        """Return the settings of each arm, these alone where there are none."""
        return [self.of_arm(name) for name in self.arms] or [self]

    @property
    def topics(self) -> Topics:
        """The names of the topics: of versions and weights, those of the arm."""
        return Topics(self.log.prefix, arm=self._arm)

    @property
    def traffic(self) -> Traffic:
        """How an experiment between the arms begins."""
        return Traffic.of(self.experiment.name, arm_settings.shares_of(self.arms))

    @property
    def spec(self) -> Spec:
        """The settings that decide what the weights mean.

        Raises:
            SettingsError: no field is declared.
        """
        if not self.field:
            raise SettingsError("field: got none, expected at least one [[field]]; `sml init` writes them from a sample of your data")
        return Spec(
            model=self.model,
            table=self.table,
            fields=self.field,
            label_policy=self.join.label_policy,
            label_delay=self._label_delay() if self.model.records else 0,
            served_by=self._arm if self.arms and self.arms[self._arm].learn_from == "own" else None,
        )

    def _label_delay(self) -> int:
        """Return how long after its time an example's label is known, ms. The times of a file without a time are its rows' numbers.

        It is the same under every policy: where an impression is learned at once, as a negative, its positive must not read that negative.
        """
        untimed = "data" in self.model_fields_set and not self.data.timed
        return _UNTIMED_DELAY if untimed else round(1000 * (self.join.click_window + self.join.lateness))


def load(path: Path) -> Settings:
    """Read the settings from ``path`` and the environment.

    Raises:
        SettingsError: the file is missing or no TOML, or settings are unknown or wrong; the message names each.
    """
    try:
        return Settings(**tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(
            f"{path}: got {error.strerror}, expected a settings file; `sml init` writes one from a sample of your data"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: got {error}, expected TOML") from error
    except ValidationError as error:
        details = [detail for detail in error.errors() if not _follows(detail, error)]
        raise SettingsError("\n".join(f"{_source(detail, path)}: {_message(detail)}" for detail in details)) from error
    except VariableError as error:
        raise SettingsError(f"environment: got {error}, expected JSON in a variable that is a list or a table") from error


def _follows(detail: ErrorDetails, error: ValidationError) -> bool:
    """Return whether a setting is wrong only because another is: one that arms inherit is reported once."""
    inherited = detail["loc"][:1] == ("arms",) and any(other["loc"] == detail["loc"][2:] for other in error.errors())
    return inherited or detail["type"] == "default_factory_not_called"


def _source(detail: ErrorDetails, path: Path) -> str:
    """Return the variable that the setting came from, or else the file."""
    variable = "SML_" + "__".join(str(part) for part in detail["loc"]).upper()
    return variable if variable in os.environ else str(path)


def _message(detail: ErrorDetails) -> str:
    """Return the setting, what was received and what was expected; for an unknown setting the nearest known one."""
    where = ".".join(str(part) for part in detail["loc"] if part != "[key]")
    if not where:  # settings that don't fit together: the message names them
        return detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        known = _known(detail["loc"][:-1])
        nearest = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1, cutoff=0)
        return f"{where}: no such setting, nearest is {nearest[0]!r} (all: {', '.join(known)})"
    if detail["type"] == "missing":
        return f"{where}: got nothing, expected a value"
    expected = detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return f"{where}: got {_received(detail)}, expected {expected}"


def _received(detail: ErrorDetails) -> str:
    """Return what was received; nothing of it where it may hold a secret."""
    if "security" in detail["loc"] and detail["loc"][-1] not in _NO_SECRETS:
        return "what is not shown here"
    if str(detail["loc"][-1]).endswith("password"):
        return "what is not shown here"
    if "schema_registry" in detail["loc"] and "@" in str(detail["input"]):
        return "a url with a user in it, whose place is schema_registry_user and schema_registry_password"
    if detail["loc"] == ("archive", "url"):
        return "what is not shown here"
    if "url" in detail["loc"] and "@" in str(detail["input"]):
        return "a url with a user in it, whose place is [log.security]"
    return reprlib.repr(detail["input"])


def _known(table: tuple[int | str, ...]) -> list[str]:
    """Return the names of the settings in the table at this path: ``("join",)``, ``("field", 3)``, or ``()`` for the tables themselves."""
    section: type[BaseModel] = Field if table[:1] == ("field",) else Settings
    if table[:1] == ("arms",):
        section, table = ArmSettings, table[2:]
    for name in () if section is Field else table:
        section = _model_in(section.model_fields[str(name)].annotation)
    return list(section.model_fields)


def _model_in(annotation: Any) -> type[BaseModel]:
    """Return the table that a setting is, or may be."""
    return next(kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type) and issubclass(kind, BaseModel))
