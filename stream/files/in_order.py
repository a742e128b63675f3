"""The rows of a recorded log in the order of their times, however many there are."""

import pickle
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing

from stream.files.columns import read_blocks
from stream.files.layout import Logged
from stream.files.opened import Recorded
from stream.settings import DataSettings


def is_in_order(recorded: Recorded, data: DataSettings) -> bool:
    """Return whether no row is earlier than one before it.

    Raises:
        FileError: the log can't be read.
    """
    last = -1
    for block in read_blocks(recorded, data, ()):
        for time in block.times:
            if time < last:
                return False
            last = time
    return True


def in_order(rows: Iterable[Logged]) -> Iterator[Logged]:
    """Yield the rows by their time, those of one time in their own order. They wait in a temporary file, if memory is not enough.

    >>> [row.number for row in in_order([Logged(1, 7, 0, {}, None), Logged(2, 5, 1, {}, None), Logged(3, 7, 0, {}, None)])]
    [2, 1, 3]
    """
    with closing(sqlite3.connect("", check_same_thread=False)) as database:  # without a name: in memory up to its cache, then on disk
        database.execute("CREATE TABLE row (time INTEGER, row BLOB)")
        database.executemany("INSERT INTO row VALUES (?, ?)", ((row.time, pickle.dumps(row, pickle.HIGHEST_PROTOCOL)) for row in rows))
        for (row,) in database.execute("SELECT row FROM row ORDER BY time, rowid"):
            yield pickle.loads(row)  # noqa: S301 - written above
