"""What is wrong with settings: each error names the setting, what was received and what was expected.

For an unknown setting it names the nearest known one; what may be a secret is not shown.
"""

import difflib
import os
import reprlib
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from model.settings import Field
from service.arm_settings import ArmSettings

_NO_SECRETS = {"protocol", "mechanism", "check_hostname"}  # settings of [log.security] that can be shown, whatever stands there


class SettingsError(Exception):
    """The settings can't be used; commands exit with status 2."""


def described(error: ValidationError, path: Path, root: type[BaseModel]) -> str:
    """Return a line for each setting that is wrong in the file at ``path`` or in the environment, which hold the settings ``root``."""
    details = [detail for detail in error.errors() if not _follows(detail, error)]
    return "\n".join(f"{_source(detail, path)}: {_message(detail, root)}" for detail in details)


def _follows(detail: ErrorDetails, error: ValidationError) -> bool:
    """Return whether a setting is wrong only because another is: one that arms inherit is reported once."""
    inherited = detail["loc"][:1] == ("arms",) and any(other["loc"] == detail["loc"][2:] for other in error.errors())
    return inherited or detail["type"] == "default_factory_not_called"


def _source(detail: ErrorDetails, path: Path) -> str:
    """Return the variable that the setting came from, or else the file."""
    variable = "SML_" + "__".join(str(part) for part in detail["loc"]).upper()
    return variable if variable in os.environ else str(path)


def _message(detail: ErrorDetails, root: type[BaseModel]) -> str:
    """Return the setting, what was received and what was expected; for an unknown setting the nearest known one."""
    where = ".".join(str(part) for part in detail["loc"] if part != "[key]")
    if not where:  # settings that don't fit together: the message names them
        return detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        known = _known(detail["loc"][:-1], root)
        nearest = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1, cutoff=0)
        return f"{where}: no such setting, nearest is {nearest[0]!r} (all: {', '.join(known)})"
    if detail["type"] == "missing":
        return f"{where}: got nothing, expected a value"
    return f"{where}: got {_received(detail)}, expected {expected(detail)}"


def expected(detail: ErrorDetails) -> str:
    """Return what was expected of a setting that is wrong."""
    return detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")


def _received(detail: ErrorDetails) -> str:
    """Return what was received; nothing of it where it may hold a secret."""
    setting, value = detail["loc"], detail["input"]
    if _is_secret(setting):
        return "what is not shown here"
    if "schema_registry" in setting and "@" in str(value):
        return "a url with a user in it, whose place is schema_registry_user and schema_registry_password"
    if "url" in setting and "@" in str(value):
        return "a url with a user in it, whose place is [log.security]"
    return reprlib.repr(value)


def _is_secret(setting: tuple[int | str, ...]) -> bool:
    """Return whether a setting may hold a secret, whatever is wrong with it."""
    of_security = "security" in setting and setting[-1] not in _NO_SECRETS
    return of_security or str(setting[-1]).endswith("password") or setting == ("archive", "url")


def _known(table: tuple[int | str, ...], root: type[BaseModel]) -> list[str]:
    """Return the names of the settings in the table at this path: ``("join",)``, ``("field", 3)``, or ``()`` for the tables themselves."""
    section: type[BaseModel] = Field if table[:1] == ("field",) else root
    if table[:1] == ("arms",):
        section, table = ArmSettings, table[2:]
    for name in () if section is Field else table:
        section = _model_in(section.model_fields[str(name)].annotation)
    return list(section.model_fields)


def _model_in(annotation: Any) -> type[BaseModel]:
    """Return the table that a setting is, or may be."""
    return next(kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type) and issubclass(kind, BaseModel))
