"""One SQLite file that several processes and threads write: open it, and group concurrent writes into one transaction.

A transaction is ``BEGIN IMMEDIATE``: it takes the write lock before it reads anything, so what it read is still true when it
commits. A commit is on the disk when it returns (``synchronous=FULL``). That takes milliseconds, so writes are grouped.
The write-ahead log is bounded: while a reader of another program keeps SQLite from emptying it, writes are refused at ``MOST_WAL``.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeAlias, TypeVar

from stream.log.contract import LogError, LogUnavailableError

T = TypeVar("T")
Work: TypeAlias = Callable[[sqlite3.Connection], T]

_PATIENCE = 30.0  # seconds to wait for another process's transaction
_GROUP = 256  # writes in one transaction at most, so that the first does not wait long
_USUAL_WAL = 64 << 20  # bytes: a larger one is emptied, and cut to this when SQLite begins it again
MOST_WAL = 1 << 30  # bytes


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into the log's: a lock, a full disk or a lost file may be temporary, a damaged file is not."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise LogUnavailableError(f"the log {str(path)!r} can't be used now: {error}") from error
    except sqlite3.Error as error:
        raise LogError(f"expected an SQLite file at {str(path)!r}, got: {error}") from error


def open_file(path: Path) -> sqlite3.Connection:
    """Open a connection for any thread, in autocommit mode: each read is short and sees the newest commit."""
    connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        _wait_for_lock(lambda: connection.execute("PRAGMA journal_mode=WAL"))
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA journal_size_limit={_USUAL_WAL}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _wait_for_lock(statement: Callable[[], object]) -> None:
    """Retry every millisecond: SQLite's own waits grow to 100 ms and lose against a busy writer, or it does not wait at all."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            statement()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.001)
        else:
            return


def wal_size(path: Path) -> int:
    """Return how many bytes the write-ahead log takes."""
    try:
        return path.with_name(path.name + "-wal").stat().st_size
    except FileNotFoundError:
        return 0


class GroupCommit:
    """A thread that does its callers' writes: all that are waiting, in one transaction. Each succeeds or fails by itself."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = open_file(path)
        self._connection.execute("PRAGMA busy_timeout=0")
        self._waiting: SimpleQueue[tuple[Work[Any], Future[Any]] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=f"writes {path.name}", daemon=True)
        self._thread.start()

    def submit(self, work: Work[T]) -> Future[T]:
        """Queue ``work`` for a transaction; the future gets its result once that is on the disk."""
        if not self._thread.is_alive():
            raise LogUnavailableError(f"the log {str(self._path)!r} is closed")
        future: Future[T] = Future()
        self._waiting.put((work, future))
        return future

    def close(self) -> None:
        """Finish what was submitted, then end the thread."""
        self._waiting.put(None)
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            group = [first, *self._others()]
            try:
                with named_errors(self._path):
                    outcomes = self._transact([work for work, _ in group])
            except LogError as error:
                outcomes = [error] * len(group)
            for (_, future), outcome in zip(group, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)

    def _others(self) -> Iterator[tuple[Work[Any], Future[Any]]]:
        for _ in range(_GROUP - 1):
            try:
                item = self._waiting.get_nowait()
            except Empty:
                return
            if item is None:  # the end comes after this group
                self._waiting.put(None)
                return
            yield item

    def _transact(self, works: list[Work[Any]]) -> list[Any]:
        """Do every work in one transaction; return the result of each, or the exception that undid it alone."""
        self._bound_wal()
        _wait_for_lock(lambda: self._connection.execute("BEGIN IMMEDIATE"))
        try:
            outcomes = [self._attempt(work) for work in works]
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        return outcomes

    def _bound_wal(self) -> None:
        """Empty a large write-ahead log, as far as readers let us.

        Raises:
            LogUnavailableError: it is at its limit.
        """
        if wal_size(self._path) <= _USUAL_WAL:
            return
        with suppress(sqlite3.OperationalError):  # somebody writes
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if (size := wal_size(self._path)) > MOST_WAL:
            raise LogUnavailableError(
                f"the log {str(self._path)!r} can't be written to: its write-ahead log takes {size:,} bytes, expected at most {MOST_WAL:,}"
                ". A program that has been reading for long keeps it from being emptied: end its transaction"
            )

    def _attempt(self, work: Work[T]) -> T | Exception:
        self._connection.execute("SAVEPOINT work")
        try:
            return work(self._connection)
        except sqlite3.OperationalError:  # not this work's fault: the disk, the file
            raise
        except Exception as error:  # noqa: BLE001 - it is raised where the work was submitted
            self._connection.execute("ROLLBACK TO work")
            return error
        finally:
            if self._connection.in_transaction:
                self._connection.execute("RELEASE work")
