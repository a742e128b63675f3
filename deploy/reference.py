"""The reference of the documentation, written from the code while it is built: settings, commands, records, the API, docstrings."""  # noqa: INP001

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.main import get_command

from deploy.typescript import document
from model.settings import Field
from service.arm_settings import ArmSettings
from service.cli import app
from service.settings import Settings
from stream.records import events
from stream.records.version import Version

RECORDS = (events.Impression, events.Click, events.Example, events.Served, events.Forget, Version, events.Watermark)


def settings() -> Iterator[str]:
    """Yield a table for each section of ``sml.toml``."""
    for name, info in Settings.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _section(f"[{name}]", info.annotation)
    yield from _section("[arms.NAME]", ArmSettings)
    yield from _section("[[field]]", Field)


def _section(title: str, section: type[BaseModel]) -> Iterator[str]:
    yield from (f"## `{title}`", "", inspect.getdoc(section) or "", "", "| setting | default | meaning |", "| --- | --- | --- |")
    tables = {}
    for name, info in section.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            tables[name] = info.annotation
        else:
            default = "" if info.is_required() or info.default_factory else f"`{info.default!r}`"
            yield f"| `{name}` | {_cell(default)} | {_cell(_meaning(info))} |"
    yield ""
    for name, table in tables.items():
        yield from _section(f"{title[:-1]}.{name}]", table)


def _meaning(info: FieldInfo) -> str:
    choices = " or ".join(map(str, get_args(info.annotation))) if get_origin(info.annotation) is Literal else ""
    return info.description or choices


def commands() -> Iterator[str]:
    """Yield each command with its arguments and options."""
    for path, command in _commands(get_command(app), "sml"):
        text, _, examples = (command.help or "").partition("\b\n")
        yield from (f"## {path}", "", _prose(text), "")
        if examples:
            yield from ("```", inspect.cleandoc(examples), "```", "")
        for parameter in command.params:
            meaning = _prose(getattr(parameter, "help", None) or "")
            names = parameter.opts + parameter.secondary_opts if parameter.param_type_name == "option" else [parameter.name]
            yield f"- {', '.join(f'`{name}`' for name in names)}: {meaning}"
        yield ""


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the commands of a group, and of those in it."""
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, each in command.commands.items():
        yield from _commands(each, f"{path} {name}")


def records() -> Iterator[str]:
    """Yield the definition of each record."""
    for record in RECORDS:
        yield from (f"## {record.__name__}", "", "```python", inspect.getsource(record).strip(), "```", "")


def api() -> Iterator[str]:
    """Yield each endpoint with what it does, takes and answers."""
    for path, methods in document()["paths"].items():
        for method, endpoint in methods.items():
            yield from (f"## {method.upper()} {path}", "", endpoint.get("description", ""), "")
            body = endpoint.get("requestBody", {}).get("content", {}).get("application/json", {})
            for name, example in body.get("examples", {}).items():
                yield from (f"{name.capitalize()}:", "", "```json", json.dumps(example["value"]), "```", "")
            yield from ("| status | meaning |", "| --- | --- |")
            yield from (f"| {status} | {_cell(answer['description'])} |" for status, answer in endpoint["responses"].items())
            yield ""


PAGES: Mapping[str, Callable[[], Iterator[str]]] = {"settings": settings, "commands": commands, "records": records, "api": api}


def generated(name: str) -> str:
    """Return a page of the reference, or the docstring of ``module:Name`` or ``module``."""
    if name in PAGES:
        return "\n".join(PAGES[name]())
    module, _, attribute = name.partition(":")
    found = import_module(module)
    text = inspect.getdoc(getattr(found, attribute) if attribute else found)
    return f"```text\n{text}\n```"


def _cell(text: str) -> str:
    return " ".join(_prose(text).split()).replace("|", "\\|")


def _prose(text: str) -> str:
    """Return a text in which Markdown reads nothing as a tag, and code as Markdown writes it."""
    return text.replace("``", "`").replace("<", "&lt;")
