"""What the commands of ``sml`` share: options, and how a result or a failure is printed.

Exit status: 0 done, 1 failed, 2 wrong usage or settings.
"""

import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from service.tables import shown
from service.telemetry.log_lines import printable

if TYPE_CHECKING:
    from service.settings import Settings

Config = Annotated[Path, typer.Option("--config", "-c", help="The settings file.", metavar="TOML")]
RECORDED = "Recorded logs: CSV, TSV, JSON, Parquet, LIBSVM, LIBFFM, Vowpal Wabbit's text, packed or not; folders, patterns, or -."
Recorded = Annotated[Path, typer.Argument(help=RECORDED)]
RecordedFiles = Annotated[list[Path], typer.Argument(help=RECORDED, metavar="FILE...")]
MaxBad = Annotated[float | None, typer.Option(min=0, max=1, help="The share of rows that may be unreadable. Default: [data] max_bad.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, on the last line of stdout.")]
UntilCaughtUp = Annotated[bool, typer.Option("--until-caught-up", help="Stop after the records that the log held at the start.")]
Arm = Annotated[str | None, typer.Option("--arm", help="Which of [arms] in the settings; default: control.", metavar="NAME")]
CONFIG = Path("sml.toml")


class Program(TyperGroup):
    """Prints a failure that was foreseen as a line on stderr, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            status = _status(error)
            if status is None:
                raise
            typer.secho("\n".join(map(printable, f"sml: {error}".split("\n"))), err=True, fg="red")
            raise typer.Exit(status) from error


def _status(error: Exception) -> int | None:
    """Return the exit status of an error that was foreseen: one of ours, or the system's; None for any other."""
    from service.settings import SettingsError

    if isinstance(error, SettingsError):
        return 2
    ours = type(error).__module__.removeprefix("sml_online.").partition(".")[0] in {"model", "experiments", "paper", "stream", "service"}
    return 1 if ours or isinstance(error, OSError | ImportError) else None


def group(text: str) -> typer.Typer:
    """Return a group of commands."""
    return typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=text)


def settings_of(config: Path) -> "Settings":
    """Read the settings."""
    from service.settings import load

    return load(config)


def settings_reading(config: Path, max_bad: float | None) -> "Settings":
    """Read the settings, for a recorded log of which the share ``max_bad`` may be unreadable; None: as the settings have it."""
    settings = settings_of(config)
    return settings if max_bad is None else settings.model_copy(update={"data": settings.data.model_copy(update={"max_bad": max_bad})})


def named_settings(written: list[str]) -> dict[str, Path]:
    """Return the settings files of models by name, which are written ``NAME=TOML``."""
    found: dict[str, Path] = {}
    for each in written:
        name, _, file = each.partition("=")
        if not file or name in found or not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
            expected = "NAME=TOML, each name once, of up to 64 letters, digits, dots, dashes and underscores"
            raise typer.BadParameter(f"got {each!r}, expected {expected}", param_hint="--model")
        found[name] = Path(file)
    return found


def answer(value: Any, as_json: bool) -> None:
    """Print a command's result: as JSON, or for people."""
    typer.echo(json.dumps(value) if as_json else shown(value))


def print_version(wanted: bool) -> None:
    """Print the version and exit, if ``wanted``."""
    if wanted:
        typer.echo(f"sml {version('sml-online')}")
        raise typer.Exit
