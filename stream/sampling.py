"""Sampling of negatives: which examples without a click are learned where not all are, and how much each of them counts.

    learned     label = 1, or blake2b(salt, time, impression id) < rate · 2⁶⁴
    counts      1 / rate times, if there was no click

So the sums over what is learned are on average those over everything, and nothing but the record, the rate and the salt decides: the same
examples are left out whenever they are read again. The salt is no client's to know: who could tell which impressions are left out
might choose ids, and be credited with clicks alone.
"""

import secrets
from hashlib import blake2b
from typing import Annotated, Literal, Self

import msgspec
from msgspec import Meta, Struct

LEAST = 0.01  # rate: an example counts a hundred times at most, which the bound on its derivative still follows: benchmarks/weights.md
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

    def takes(self, impression_id: str, time: int) -> bool:
        """Return whether a negative is learned; the impression's time, epoch ms, gives an id that is used again a new chance."""
        digest = blake2b(f"{self.salt} {time} {impression_id}".encode(), digest_size=8).digest()  # its own key would take as long again
        return int.from_bytes(digest) < self.rate * 2**64

    def leaves_out(self, value: bytes | None) -> bool:
        """Return whether a record of ``examples`` is left out. Nothing else of it is read, or checked."""
        if value is None:
            return False
        try:
            head = _head.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # something else, or bad: to be set aside with its reason
            return False
        return head.label == 0 and not self.takes(head.impression_id, head.time)


class _Head(Struct, gc=False):
    """What decides of an example."""

    impression_id: str
    time: int
    label: Literal[0, 1]


_head = msgspec.json.Decoder(_Head)
