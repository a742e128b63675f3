"""Runs and their outcomes, kept as one line of JSON each, so that a killed command goes on where it was.

A run that has its line is not made again. A line is on the disk before the next outcome is awaited; one that a kill has cut short
is dropped, and its run is made again.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import numpy as np

from model.settings import ModelSettings

_DIGITS = 6  # after the point, in arrays that are stored


@dataclass(frozen=True)
class Run:
    """One network that learns once: all that decides its outcome. Each study adds the settings by which it learns.

    Attributes:
        data: name of the data set.
        digest: of the data as encoded.
        network: its name in :mod:`model.networks`.
        skip: its skip term.
        skip_input: what the term reads.
        hidden: widths of the tower.
        seed: of all that is random.
    """

    data: str
    digest: str
    network: str
    skip: str
    skip_input: str
    hidden: tuple[int, ...]
    seed: int

    def __str__(self) -> str:
        """Return its name in a line of progress."""
        return f"{self.data} {self.network} {self.skip}/{self.skip_input}, {len(self.hidden)} layers, seed {self.seed}"

    def model(self, **more: bool) -> ModelSettings:
        """Return the model: those of the run's settings that are a model's, and ``more``."""
        own = {name: value for name, value in asdict(self).items() if name in ModelSettings.model_fields}
        return ModelSettings.model_validate(own | more)


class Outcome(Protocol):
    """What a run gave: a dataclass of plain values, arrays and other such dataclasses."""

    @property
    def seconds(self) -> float:
        """Return how long the run took."""

    @property
    def logit(self) -> list[float]:
        """Return 5 %, 25 %, 50 %, 75 % and 95 % quantile of the logit."""


R = TypeVar("R", bound=Run)
O = TypeVar("O", bound=Outcome)  # noqa: E741  # an outcome


class Results(Generic[R, O]):
    """The outcomes in a file, by run.

    Args:
        path: a file of JSON lines; the first outcome creates it.
        kind: the class of the outcomes.
    """

    def __init__(self, path: Path, kind: type[O]) -> None:
        self.path, self._kind = path, kind
        self._outcomes: dict[str, O] = {}
        text = path.read_bytes() if path.exists() else b""
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:
            os.truncate(path, len(whole))
        for line in whole.splitlines():
            self._read(line)

    def __contains__(self, run: R) -> bool:
        """Return whether the outcome of a run is known."""
        return _key(run) in self._outcomes

    def __getitem__(self, run: R) -> O:
        """Return the outcome of a run.

        Raises:
            KeyError: it is not known.
        """
        return self._outcomes[_key(run)]

    def add(self, run: R, outcome: O) -> None:
        """Write an outcome to the disk, so that no kill can lose it."""
        line = json.dumps({"run": run, "outcome": outcome}, default=_plain)
        self._read(line)  # known from now on as it will be read again
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self, line: str | bytes) -> None:
        found = json.loads(line)
        self._outcomes[_key(found["run"])] = msgspec.convert(found["outcome"], self._kind, dec_hook=lambda _array, plain: np.array(plain))


def _key(run: Run | dict[str, Any]) -> str:
    return json.dumps(run, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    return np.round(value, _DIGITS).tolist() if isinstance(value, np.ndarray) else asdict(value)
