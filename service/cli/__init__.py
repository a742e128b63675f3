"""The options of the ``sml`` command: main → one file for each group of commands → commands."""

from service.cli.main import app

__all__ = ["app"]
