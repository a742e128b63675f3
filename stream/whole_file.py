"""A file that is written whole or not at all: under another name, synced to the disk, then put in place of the one before."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def written(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Yield a new file, which is at ``path`` once the block has ended; where it can't be written, what was there before stays.

    Args:
        path: Of the file, in a folder that exists.
        mode: The rights to the file, less the process's mask.

    Raises:
        OSError: it can't be written. It names ``path``, which the system does not do where the disk is full.
    """
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")  # no two writers have one of the same name
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        new.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Sync a rename in ``folder`` to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
