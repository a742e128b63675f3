"""The ``sml`` command, what can be asked: main → one file for each group (bench, dead_letters, snapshots, topics) → commands."""

from service.cli.main import app

__all__ = ["app"]
