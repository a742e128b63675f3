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
from typing import Self

from pydantic import BaseModel, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError as VariableError

from model.settings import Field, ModelSettings, Spec, TableSettings
from stream.log.topics import Kept
from stream.settings import (
    DataSettings,
    JoinSettings,
    LearnSettings,
    LogSettings,
    Port,
    Section,
    format_duration,
    least_retention,
)

_NO_SECRETS = {"protocol", "mechanism", "check_hostname"}  # settings of [log.security] that can be shown, whatever stands there


class SettingsError(Exception):
    """The settings can't be used; commands exit with status 2."""


class ServeSettings(Section):
    """Where the server listens."""

    host: str = "127.0.0.1"
    """the address to listen on; 0.0.0.0 for every interface"""
    port: Port = 8000
    """the port of the API, /metrics and /docs"""

    @property
    def url(self) -> str:
        """The address at which programs on this machine reach the server."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 - compared, not bound
        return f"http://{host}:{self.port}"


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
    serve: ServeSettings = ServeSettings()
    privacy: PrivacySettings = PrivacySettings()
    data: DataSettings = DataSettings()
    field: tuple[Field, ...] = ()

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

    @field_validator("field")
    @classmethod
    def _names_differ(cls, fields: tuple[Field, ...]) -> tuple[Field, ...]:
        names = [field.name for field in fields]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"each name once, but {', '.join(sorted(twice))} stands there again")
        return fields

    @model_validator(mode="after")
    def _personal_fields_exist(self) -> Self:
        kinds = {field.name: field.kind for field in self.field}
        wrong = [name for name in self.privacy.fields if kinds.get(name) not in ("categorical", "multi")]
        if wrong:
            raise ValueError(f"privacy.fields to be fields of kind categorical or multi, got {', '.join(wrong)}")
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

    @property
    def spec(self) -> Spec:
        """The settings that decide what the weights mean.

        Raises:
            SettingsError: no field is declared.
        """
        if not self.field:
            raise SettingsError("field: got none, expected at least one [[field]]; `sml init` writes them from a sample of your data")
        return Spec(model=self.model, table=self.table, fields=self.field, label_policy=self.join.label_policy)


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
        details = [detail for detail in error.errors() if detail["type"] != "default_factory_not_called"]  # it follows from another error
        raise SettingsError("\n".join(f"{_source(detail, path)}: {_message(detail)}" for detail in details)) from error
    except VariableError as error:
        raise SettingsError(f"environment: got {error}, expected JSON in a variable that is a list or a table") from error


def _source(detail: ErrorDetails, path: Path) -> str:
    """Return the variable that the setting came from, or else the file."""
    variable = "SML_" + "__".join(str(part) for part in detail["loc"]).upper()
    return variable if variable in os.environ else str(path)


def _message(detail: ErrorDetails) -> str:
    """Return the setting, what was received and what was expected; for an unknown setting the nearest known one."""
    where = ".".join(str(part) for part in detail["loc"])
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
    if "url" in detail["loc"] and "@" in str(detail["input"]):
        return "a url with a user in it, whose place is [log.security]"
    return reprlib.repr(detail["input"])


def _known(table: tuple[int | str, ...]) -> list[str]:
    """Return the names of the settings in the table at this path: ``("join",)``, ``("field", 3)``, or ``()`` for the tables themselves."""
    section: type[BaseModel] = Field if table[:1] == ("field",) else Settings
    for name in () if section is Field else table:
        section = type(section.model_fields[str(name)].default)
    return list(section.model_fields)
