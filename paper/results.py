"""What runs gave, a line of JSON each, so that a killed command goes on where it was: a run that has its line is not repeated.

A line is on the disk before the next run is waited for. One that a kill has cut short is dropped, and its run is made again.
"""

import json
import os
from pathlib import Path
from typing import Any

from paper.run import Layers, Outcome, Run


class Results:
    """The outcomes in a file, by run.

    Args:
        path: a file of JSON lines; it is made with the first.
    """

    def __init__(self, path: Path) -> None:
        """Read what is there."""
        self.path = path
        self._known: dict[str, dict[str, Any]] = {}
        if not path.exists():
            return
        text = path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:
            os.truncate(path, len(whole))
        for line in whole.splitlines():
            found = json.loads(line)
            self._known[_key(found["run"])] = found["outcome"]

    def __contains__(self, run: Run) -> bool:
        """Whether its outcome is known."""
        return _key(run.settings()) in self._known

    def __getitem__(self, run: Run) -> Outcome:
        """Give the outcome of a run.

        Raises:
            KeyError: it is not known.
        """
        found = self._known[_key(run.settings())]
        return Outcome(**found | {"layers": Layers(**found["layers"])})

    def add(self, run: Run, outcome: Outcome) -> None:
        """Write an outcome down, so that no kill can lose it."""
        line = {"run": run.settings(), "outcome": outcome.line()}
        self._known[_key(line["run"])] = line["outcome"]
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _key(settings: dict[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)
