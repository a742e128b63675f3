"""Checkpoints: the learner's whole state at a committed version, in one file each.

A file appears whole or not at all (:mod:`stream.whole_file`).
A file that is not as it was saved is passed over: it holds a digest of the whole state, with the header.
"""

import logging
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Self

import msgspec
from pydantic import ValidationError

from model.array_file import ArrayFileError, Arrays, dump, load
from model.evaluation.scores import RunningScores
from model.guard.guard import Guard
from model.online import OnlineModel
from model.settings import Spec
from stream.learn.forgotten import Forgotten
from stream.learn.trainer import Trainer
from stream.records.version import Version
from stream.settings import LearnSettings
from stream.weights.archive import MODEL
from stream.whole_file import written

logger = logging.getLogger(__name__)

_NAME = re.compile(r"version-\d{12}\.checkpoint")
_SCORES, _FORGOTTEN, _GUARD = "scores/", "forgotten/", "guard/"


class DamagedCheckpointError(Exception):
    """A file is no checkpoint, or is not as it was saved."""


class Checkpoint(NamedTuple):
    """All that the learner needs to go on from a version."""

    version: Version  # as it was published
    offset: int  # of the version in the topic ``versions``
    spec: Spec
    arrays: Arrays  # of the model, of its scores, of what it has forgotten and of its guard

    @classmethod
    def of(cls, version: Version, offset: int, trainer: Trainer) -> Self:
        """Copy the state, which now is that of ``version``."""
        states = {MODEL: trainer.model.state(), _SCORES: trainer.scores.state()}
        states |= {_FORGOTTEN: trainer.forgotten.state(), _GUARD: trainer.guard.state()}
        arrays = {prefix + name: array for prefix, state in states.items() for name, array in state.items()}
        return cls(version, offset, trainer.model.spec, arrays)

    def restore(self) -> Trainer:
        """Return the trainer with this state.

        Raises:
            DamagedCheckpointError: the arrays are not those of its settings, or memory does not hold them.
        """
        try:
            model = OnlineModel.from_state(self.spec, self._under(MODEL))
            guard = Guard.from_state(self._under(_GUARD))
            return Trainer(model, RunningScores.from_state(self._under(_SCORES)), self.forgotten(), guard)
        except (KeyError, IndexError, TypeError, ValueError, MemoryError) as error:
            raise DamagedCheckpointError(f"the checkpoint of version {self.version.version} holds no model: {error!r}") from error

    def forgotten(self) -> Forgotten:
        """Return the values that the model had forgotten."""
        return Forgotten.from_state(self._under(_FORGOTTEN))

    def to_bytes(self) -> bytes:
        """Serialize everything, with a checksum over all of it."""
        header = {
            "version": msgspec.to_builtins(self.version, str_keys=True),
            "place": self.offset,
            "spec": self.spec.model_dump(mode="json"),
        }
        return dump(self.arrays, header)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Deserialize what :meth:`to_bytes` returned.

        Raises:
            DamagedCheckpointError: the bytes are cut, changed, or no checkpoint.
        """
        try:
            arrays, header = load(data)
            version = msgspec.convert(header["version"], Version, strict=False)  # JSON's keys are strings
            return cls(version, header["place"], Spec.model_validate(header["spec"]), arrays)
        except (ArrayFileError, KeyError, msgspec.ValidationError, ValidationError) as error:
            raise DamagedCheckpointError(f"not a checkpoint as it was saved: {error}") from error

    def _under(self, prefix: str) -> Arrays:
        return {name.removeprefix(prefix): array for name, array in self.arrays.items() if name.startswith(prefix)}


class Checkpoints:
    """The checkpoints in one folder, which keeps the last few.

    Args:
        directory: The folder; it is created when the first checkpoint is saved.
        keep: How many to keep.
    """

    def __init__(self, directory: Path, keep: int) -> None:
        self.directory, self._keep = directory, keep

    @classmethod
    def of(cls, settings: LearnSettings) -> Self:
        """Return those that a learner with these settings keeps."""
        return cls(Path(settings.directory), settings.keep)

    @property
    def begun(self) -> "Checkpoints":
        """Another arm's state that this one begins with; it goes once there is a checkpoint."""
        return Checkpoints(self.directory / ".begun", 1)

    @property
    def imported(self) -> "Checkpoints":
        """The state that was imported and that this model began with; it stays."""
        return Checkpoints(self.directory / ".imported", 1)

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write ``checkpoint``, delete those that are no longer among the newest, or hold what it has forgotten; return its path.

        Raises:
            OSError: it could not be written; the earlier ones are as they were.
        """
        path = self.write(checkpoint)
        paths, forgotten = self.paths(), checkpoint.forgotten()
        remembering = [older for older in paths if _number(older) < forgotten.version]
        for older in {*paths[: -self._keep], *remembering}:
            older.unlink(missing_ok=True)
        shutil.rmtree(self.begun.directory, ignore_errors=True)
        return path

    def write(self, checkpoint: Checkpoint) -> Path:
        """Write ``checkpoint``, delete none, and return its path.

        Raises:
            OSError: it could not be written.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / f"version-{checkpoint.version.version:012}.checkpoint"
        with written(path) as file:
            file.write(checkpoint.to_bytes())
        return path

    def newest_first(self, archived: Mapping[int, Callable[[], bytes]] | None = None) -> Iterator[Checkpoint]:
        """Yield the checkpoints that are as they were saved, the newest first; log why another is not.

        Args:
            archived: Version → what reads its copy elsewhere: it counts where the folder has none of that version that can be read.
        """
        copies = [(number, "", read) for number, read in (archived or {}).items()]
        own = [(_number(path), str(path), path.read_bytes) for path in self.paths()]
        for number, path, read in sorted([*copies, *own], key=lambda each: each[:2], reverse=True):
            try:
                yield Checkpoint.from_bytes(read())
            except (DamagedCheckpointError, OSError) as error:
                logger.warning("passing over the checkpoint %s: %s", path or f"of version {number} in the archive", error)

    def has(self, version: int) -> bool:
        """Return whether the folder has a file of this version."""
        return any(_number(path) == version for path in self.paths())

    def read(self, path: Path) -> Checkpoint:
        """Read one of the files.

        Raises:
            DamagedCheckpointError: it is not as it was saved.
            OSError: it can't be read.
        """
        return Checkpoint.from_bytes(path.read_bytes())

    def tidy(self) -> None:
        """Delete the unfinished files of earlier writers; only the owner of the model may do that."""
        for path in self.directory.glob("version-*.part"):
            path.unlink(missing_ok=True)

    def paths(self) -> list[Path]:
        """Return the paths of the files, the oldest first."""
        return sorted(path for path in self.directory.glob("version-*.checkpoint") if _NAME.fullmatch(path.name))


def _number(path: Path) -> int:
    """Return the number of the version in a file's name."""
    return int(path.stem.removeprefix("version-"))
