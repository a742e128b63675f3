"""A recorded log as a stream that is learned once: encoded, and cut into blocks of time and groups of users.

The beginning is set aside: it is learned but never scored, and settings are chosen on it.

Shapes: N examples, F fields.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_hexdigest, xxh3_64_intdigest

from model.encoding.features import Encoder, Features
from model.settings import Field
from stream.files.layout import Logged
from stream.settings import DataSettings

HOUR = 3_600_000  # ms
ROWS = 1_000  # of a block, or a few more, where the file has no order
PREFIX = 0.15  # of the examples are set aside at least, in whole blocks
USER_GROUPS = 20  # into which users are hashed: the blocks of the bootstrap by user


class Sample(NamedTuple):
    """A recorded log and its blocks.

    Attributes:
        title: its name on the page.
        data: how it is read.
        block: length of a block of time in ms; 0 if the file has no order: a block is then some ``ROWS`` of its rows.
        shift: ms to add to a time, so that a day begins at the users' midnight.
        user: the column that names a user, if there is one.
    """

    title: str
    data: DataSettings
    block: int = 0
    shift: int = 0
    user: str | None = None


SAMPLES = {
    "avazu": Sample("Avazu", DataSettings(format="avazu", time="hour"), block=3 * HOUR),
    "kuairand": Sample("KuaiRand", DataSettings(format="csv", time="time_ms"), block=24 * HOUR, shift=8 * HOUR, user="user_id"),
    "criteo": Sample("Criteo", DataSettings(format="criteo")),
}


class Stream(NamedTuple):
    """Examples in the order of their file.

    Attributes:
        name: of the sample.
        fields: of the model.
        features: of N examples.
        labels: 1 for a click, else 0, ``(N,)``.
        blocks: of time, or of rows, numbered from the first that is scored; negative before, ``(N,)``.
        users: the group of the example's user, ``(N,)``; empty where users are not known.
        scored: index of the first example that is scored.
    """

    name: str
    fields: tuple[Field, ...]
    features: Features
    labels: NDArray[np.float32]
    blocks: NDArray[np.int64]
    users: NDArray[np.int64]
    scored: int

    @property
    def digest(self) -> str:
        """Return the digest of the examples as encoded."""
        return xxh3_64_hexdigest(b"".join(part.tobytes() for part in (*self.features, self.labels, self.blocks, self.users)))

    @property
    def ordered(self) -> bool:
        """Return whether the file is in the order of time."""
        return SAMPLES[self.name].block > 0

    def take(self, chosen: NDArray[np.int64]) -> "Stream":
        """Return the examples of these indices, in this order."""
        width = len(self.fields)
        starts = self.features.starts
        positions = np.concatenate([np.arange(starts[n * width], starts[(n + 1) * width]) for n in chosen])
        lengths = np.diff(starts).reshape(-1, width)[chosen].ravel()
        features = Features(self.features.keys[positions], np.concatenate([[0], np.cumsum(lengths)]))
        users = self.users[chosen] if len(self.users) else self.users
        return self._replace(features=features, labels=self.labels[chosen], blocks=self.blocks[chosen], users=users)

    def in_order(self, seed: int) -> "Stream":
        """Return the stream in the order of time, or in a random order if it has none; the beginning keeps its order."""
        if self.ordered:
            return self
        after = np.arange(self.scored, len(self.labels))
        return self.take(np.concatenate([np.arange(self.scored), np.random.default_rng(seed).permutation(after)]))


def encode(name: str, fields: Sequence[Field], batches: Iterable[Sequence[Logged]]) -> Stream:
    """Encode the rows of a sample.

    Args:
        name: of ``SAMPLES``.
        fields: of the model, as ``sml init`` finds them.
        batches: the file's rows, some at a time.
    """
    sample = SAMPLES[name]
    encoder = Encoder(fields)
    keys: list[NDArray[np.uint64]] = []
    lengths: list[NDArray[np.int64]] = []
    labels: list[int] = []
    times: list[int] = []
    users: list[int] = []
    for batch in batches:
        features, bad = encoder.encode([row.features for row in batch], [row.time for row in batch])
        good = [row for n, row in enumerate(batch) if n not in bad]  # as sml evaluate leaves bad rows out
        keys.append(features.keys)
        lengths.append(np.diff(features.starts))
        labels += [row.label for row in good]
        times += [row.time + sample.shift for row in good]
        if sample.user:
            users += [xxh3_64_intdigest(str(row.features[sample.user]).encode()) % USER_GROUPS for row in good]
    count = len(labels)
    block_ids = np.array(times) // sample.block if sample.block else np.arange(count) * (count // ROWS) // count
    blocks = np.unique(block_ids, return_inverse=True)[1]
    scored = int(np.searchsorted(blocks, blocks[int(PREFIX * count)], "right"))
    encoded = Features(np.concatenate(keys), np.concatenate([[0], np.cumsum(np.concatenate(lengths))]))
    return Stream(name, tuple(fields), encoded, np.array(labels, np.float32), blocks - blocks[scored], np.array(users, np.int64), scored)
