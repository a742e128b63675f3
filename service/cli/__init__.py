"""The options of the ``sml`` command: main → one file for each group (bench, dead_letters, snapshots, topics) → commands."""

from service.cli.main import app

__all__ = ["app"]
