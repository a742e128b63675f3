"""Report on the screen of ``sml up`` that a disk is full: its processes can't write so into their logs, which lie on it."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from service.doctor.finding import size

LEAST = 20_000_000  # bytes: with less, the next version, checkpoint or piece of the log's file may find no room


def free(folder: Path) -> int:
    """Return the bytes that may be written where ``folder`` is."""
    return shutil.disk_usage(folder).free


class Room:
    """Watches the disks under some folders.

    Args:
        folders: They exist; those on one disk count as one.
        free: Returns the bytes that may be written under a folder.
    """

    def __init__(self, folders: Iterable[Path], free: Callable[[Path], int] = free) -> None:
        self._folders, self._free = list({folder.stat().st_dev: folder for folder in folders}.values()), free
        self._full: set[Path] = set()

    def new_lines(self) -> list[str]:
        """Return what has become of them since the last time: one line when a disk is full, and one when it has room again."""
        lines = []
        for folder in self._folders:
            left = self._free(folder)
            if left < LEAST and folder not in self._full:
                self._full.add(folder)
                lines.append(
                    f"the disk of {folder} is full, with {size(left)} left: what does not fit is refused or waits until there is room, "
                    "and nothing that was accepted is lost"
                )
            elif left > 2 * LEAST and folder in self._full:
                self._full.remove(folder)
                lines.append(f"the disk of {folder} has room again, {size(left)}")
        return lines
