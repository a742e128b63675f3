"""The API keys: a file of scrypt hashes, which is read again whenever it has changed.

A key is ``sml_ID_SECRET`` with 256 random bits in its secret, and is shown once, when it is created. After its first use its SHA-256 is
remembered, so that scrypt runs once for each key, and again only if the key's entry in the file has changed.
"""

import fcntl
import hashlib
import hmac
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from service.access.file_state import state_of
from service.access.roles import Caller, Role
from stream.whole_file import written

logger = logging.getLogger(__name__)

CHECK_EVERY = 1.0  # seconds between looks at the file
_N, _R, _P = 2**14, 8, 1  # of scrypt: 16 MiB and 50 ms
_KEY = re.compile(r"sml_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")


class KeysError(Exception):
    """The file of keys can't be used."""


class KeyRecord(Struct, frozen=True):
    """What the file holds of one key."""

    id: Annotated[str, Meta(pattern="^[0-9a-f]{8}$")]
    roles: Annotated[list[Role], Meta(min_length=1)]
    salt: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    hash: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    created: int  # epoch seconds
    name: str = ""

    def caller(self) -> Caller:
        """Return whom the key stands for."""
        return Caller(f"key:{self.id}", frozenset(self.roles))


class Keys:
    """The keys of a file, as it is now. Safe to use from several threads.

    Args:
        path: The file, which `sml keys create` writes.
        clock: Seconds.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file.

        Raises:
            KeysError: it is missing or not a file of keys.
        """
        self._path, self._clock, self._changing = path, clock, threading.Lock()
        self._looked_at, self._state = clock(), state_of(path)
        self._refused: object = self._state  # the state that could not be read, which is tried again: there may have been no file to spare
        self._records = {record.id: record for record in read(path)}
        self._remembered: dict[str, tuple[bytes, Caller]] = {}  # id → SHA-256 of the key that was verified, and whom it stands for

    def known(self, key: str) -> Caller | None:
        """Return whom a key stands for that was verified before; None for any other. This never takes long."""
        self._look()
        found = _KEY.fullmatch(key)
        remembered = self._remembered.get(found[1]) if found else None
        if remembered is None or not hmac.compare_digest(remembered[0], _digest(key)):
            return None
        return remembered[1]

    def may_be(self, key: str) -> bool:
        """Return whether the file has the id of a key; its secret may still be wrong."""
        return self._found(key) is not None

    def verify(self, key: str) -> Caller | None:
        """Return whom a key stands for; None if it is not valid. Takes 50 ms, without holding the interpreter."""
        found = self._found(key)
        if found is None:
            return None
        record, secret = found
        if not hmac.compare_digest(bytes.fromhex(record.hash), _scrypt(secret, bytes.fromhex(record.salt))):
            return None
        caller = record.caller()
        with self._changing:
            if self._records.get(record.id) == record:  # not revoked meanwhile
                self._remembered[record.id] = _digest(key), caller
        return caller

    def _found(self, key: str) -> tuple[KeyRecord, str] | None:
        """Return the record of a key's id, and the key's secret."""
        parts = _KEY.fullmatch(key)
        record = self._records.get(parts[1]) if parts else None
        return (record, parts[2]) if parts and record else None

    def _look(self) -> None:
        """Read the file again if it has changed. One that can't be read changes nothing, and is reported."""
        now = self._clock()
        if now - self._looked_at < CHECK_EVERY:
            return
        self._looked_at, state = now, state_of(self._path)
        if state == self._state:
            return
        try:
            records = {record.id: record for record in read(self._path)}
        except KeysError as error:
            if state != self._refused:
                logger.error("the keys stay as they were: %s", error)  # noqa: TRY400 - the message says it all
            self._refused = state
            return
        self._state = state
        with self._changing:
            self._remembered = {key: held for key, held in self._remembered.items() if records.get(key) == self._records.get(key)}
            self._records = records
        logger.info("%s has changed: %s keys are valid now", self._path, len(records))


def read(path: Path) -> list[KeyRecord]:
    """Read the keys of a file.

    Raises:
        KeysError: it is missing, or is not a file of keys.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[KeyRecord])
    except OSError as error:
        raise KeysError(f"{path}: got {error.strerror}, expected a file of keys; `sml keys create` writes one") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise KeysError(f"{path}: got {error}, expected the keys that `sml keys create` writes") from error


def create(path: Path, roles: Sequence[Role], name: str = "") -> tuple[str, KeyRecord]:
    """Add a new key to the file, and return it, which nobody can do again, and its record."""
    key_id, secret, salt = secrets.token_hex(4), secrets.token_urlsafe(32), secrets.token_bytes(16)
    with _changing(path) as records:
        while key_id in {record.id for record in records}:
            key_id = secrets.token_hex(4)
        record = KeyRecord(key_id, sorted(set(roles)), salt.hex(), _scrypt(secret, salt).hex(), int(time.time()), name)
        records.append(record)
    return f"sml_{key_id}_{secret}", record


def revoke(path: Path, key_id: str) -> KeyRecord:
    """Remove a key from the file.

    Raises:
        KeysError: the file has no such key.
    """
    with _changing(path) as records:
        found = [record for record in records if record.id == key_id]
        if not found:
            raise KeysError(f"{path} has no key {key_id!r}, only {', '.join(record.id for record in records) or 'none at all'}")
        records.remove(found[0])
    return found[0]


@contextmanager
def _changing(path: Path) -> Iterator[list[KeyRecord]]:
    """Yield the keys of the file, then replace it at once by what they have become; one process at a time."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        records = read(path) if path.exists() else []
        yield records
        with written(path, 0o600) as file:
            file.write(msgspec.json.format(msgspec.json.encode(records)))
    finally:
        os.close(lock)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _scrypt(secret: str, salt: bytes) -> bytes:
    return hashlib.scrypt(secret.encode(), salt=salt, n=_N, r=_R, p=_P, dklen=32)
