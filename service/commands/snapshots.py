"""``sml snapshots list``: the states of the model that are kept."""

from pathlib import Path
from typing import Any

from service.settings import Settings
from stream.checkpoint import Checkpoints


def kept(settings: Settings) -> list[dict[str, Any]]:
    """Give the checkpoints that can be loaded, the oldest first."""
    checkpoints = Checkpoints(Path(settings.learn.directory), settings.learn.keep)
    states = [checkpoint.version for checkpoint in checkpoints.newest_first()]
    names = ("version", "digest", "examples", "trained_through", "offsets")
    return [{name: getattr(state, name) for name in names} for state in reversed(states)]
