"""What runs gave, a line of JSON each, so that a killed command goes on where it was: a run that has its line is not repeated.

A line is on the disk before the next run is waited for. One that a kill has cut short is dropped, and its run is made again.
"""

import json
import os
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from paper.offline.run import Layers, Outcome, Run


class _Settings(Protocol):
    def settings(self) -> dict[str, Any]: ...


class _Line(Protocol):
    def line(self) -> dict[str, Any]: ...


R = TypeVar("R", bound=_Settings)
O = TypeVar("O", bound=_Line)  # noqa: E741  # an outcome


class Lines(Generic[R, O]):
    """The outcomes in a file, by run.

    Args:
        path: a file of JSON lines; it is made with the first.
    """

    def __init__(self, path: Path) -> None:
        """Read what is there."""
        self.path = path
        self._known: dict[str, O] = {}
        if not path.exists():
            return
        text = path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:
            os.truncate(path, len(whole))
        for line in whole.splitlines():
            found = json.loads(line)
            self._known[_key(found["run"])] = self.read(found["outcome"])

    def __contains__(self, run: R) -> bool:
        """Whether its outcome is known."""
        return _key(run.settings()) in self._known

    def __getitem__(self, run: R) -> O:
        """Give the outcome of a run.

        Raises:
            KeyError: it is not known.
        """
        return self._known[_key(run.settings())]

    def read(self, line: dict[str, Any]) -> O:
        """Give the outcome whose line it is."""
        raise NotImplementedError

    def add(self, run: R, outcome: O) -> None:
        """Write an outcome down, so that no kill can lose it."""
        line = {"run": run.settings(), "outcome": outcome.line()}
        self._known[_key(line["run"])] = self.read(line["outcome"])  # as it will be read again
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


class Results(Lines[Run, Outcome]):
    """The outcomes of the runs offline."""

    def read(self, line: dict[str, Any]) -> Outcome:
        """Give the outcome whose line it is."""
        return Outcome(**line | {"layers": Layers(**line["layers"])})


def _key(settings: dict[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)
