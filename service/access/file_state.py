"""Whether a file has changed, for what is read again without a restart."""

from pathlib import Path
from typing import TypeAlias

FileState: TypeAlias = tuple[int, int, int]


def state_of(path: Path) -> FileState | None:
    """Return what changes with the file: time, size and inode; None if it is missing."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
