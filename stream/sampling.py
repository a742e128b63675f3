"""Sampling of negatives: which examples without a click are learned where not all are, and how much each of them counts.

    learned     label = 1, or the first 64 bits of sha256(salt, time, impression id) < rate · 2⁶⁴
    counts      1 / rate times, if there was no click

So the sums over what is learned are on average those over everything, and nothing but the record, the rate and the salt decides: the same
examples are left out whenever they are read again. The salt is no client's to know: who could tell which impressions are left out
might choose ids, and be credited with clicks alone.
"""

import secrets
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Annotated, Literal, Self

import msgspec
from msgspec import Meta, Struct

LEAST = (
    0.01  # rate: an example counts a hundred times at most, which the bound on its derivative still follows: benchmarks/defaults/weights.md
)
NO_SALT = "0" * 32


class Sampling(Struct, frozen=True):
    """The share of the negatives that is learned, and what chooses them."""

    rate: Annotated[float, Meta(gt=0, lt=1)]
    salt: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]  # 128 bits in hex

    @classmethod
    def drawn(cls, rate: float) -> Self:
        """Return a sampling with a salt of its own."""
        return cls(rate, secrets.token_hex(16))

    @property
    def weight(self) -> float:
        """How many negatives one that is learned stands for."""
        return 1 / self.rate

    def chooser(self) -> Callable[[str, int | str], bool]:
        """Return what says whether a negative is learned, by its impression's id and time: an id that comes again has a new chance."""
        salt, limit = self.salt, int(self.rate * 2**64).to_bytes(8)
        return lambda impression_id, time: sha256(f"{salt} {time} {impression_id}".encode()).digest() < limit

    def kept(self, values: Iterable[bytes | None]) -> list[int]:
        """Return the positions of the records of ``examples`` that are not left out. Nothing else of those that are is read, or checked."""
        takes, kept = self.chooser(), []
        for position, value in enumerate(values):
            try:
                head = _head.decode(value or b"")
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # something else, or bad: to be set aside with its reason
                kept.append(position)
                continue
            if head.label or takes(head.impression_id, head.time):
                kept.append(position)
        return kept


class _Head(Struct, gc=False):
    """What decides of an example."""

    impression_id: str
    time: int | str  # as it is written
    label: Literal[0, 1]


_head = msgspec.json.Decoder(_Head)
