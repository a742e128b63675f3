"""Several joiners of one model: each owns a share of the partitions, which it takes from whoever owned one of them.

All of them keep their progress under the one name of the model's joiner; beside each offset stands whose share the partition is in. A
joiner takes its share in three steps, so that no two ever write for one partition:

1. it takes the name of its share, which fences an older joiner of the same one;
2. it takes the model's name, so that no two take shares at the same time; that fences the joiner of all partitions;
3. it fences the other shares that it finds in its partitions, reads the progress, and commits it as its own, in the model's name.
"""

import logging
import random
import re
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import NamedTuple, Self

import msgspec
from msgspec import Struct

from stream.inputs.decode import input_topics
from stream.log.contract import FencedError, Log, Progress, TopicPartition, Writer
from stream.log.topics import JoinerError, Topics

logger = logging.getLogger(__name__)

FLINK = "flink"  # stands beside an offset in place of a share: a job of Flink's joins the partition
_TRIES, _PAUSE = 20, 0.5  # seconds at most between two: another joiner takes a share meanwhile


class Share(NamedTuple):
    """The partitions from ``first`` to ``last``, both included."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the share that a text names.

        >>> Share.parse("0-7"), Share.parse("3")
        (Share(first=0, last=7), Share(first=3, last=3))

        Raises:
            ValueError: it names none.
        """
        found = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", text)
        if found is None or int(found[1]) > int(found[2] or found[1]):
            raise ValueError(f"got {text!r}, expected a partition or the first and the last of several, such as 0-7")
        return cls(int(found[1]), int(found[2] or found[1]))

    def __str__(self) -> str:
        """Return it as :meth:`parse` takes it."""
        return f"{self.first}-{self.last}"

    @property
    def partitions(self) -> range:
        """The partitions."""
        return range(self.first, self.last + 1)


class _Point(Struct):
    share: str = ""


def share_in(entry: Progress) -> Share | None:
    """Return the share that stands beside an offset; None: the joiner of all partitions committed it, or it can't be read."""
    try:
        return Share.parse(_beside(entry))
    except ValueError:
        return None


def is_flinks(entry: Progress) -> bool:
    """Return whether a job of Flink's joins a partition: beside the offset it says so, or there is nothing, for Flink has committed it."""
    return not entry.metadata or _beside(entry) == FLINK


def _beside(entry: Progress) -> str:
    try:
        return msgspec.json.decode(entry.metadata, type=_Point).share
    except (ValueError, RecursionError):
        return ""


def joiner_of(topics: Topics, share: Share | None = None) -> str:
    """Return the name that the joiner of a share owns, or the joiner of all partitions."""
    return f"{topics.prefix}.joiner" if share is None else f"{topics.prefix}.joiner.{share}"


def job_of(topics: Topics) -> str:
    """Return the name that a job of Flink's owns; the ids of its transactions begin with it."""
    return f"{joiner_of(topics)}-{FLINK}"


def take_share(log: Log, topics: Topics, share: Share, progress: Callable[[], Mapping[TopicPartition, Progress]]) -> Writer:
    """Take a share of the partitions; return its writer, which stores progress under the name of the model's joiner.

    Args:
        log: The log.
        topics: The topics to join.
        share: Which of their partitions.
        progress: Reads the progress of these partitions, once nobody else can change it, and names their share.

    Raises:
        FencedError: other joiners keep taking shares at the same time.
        JoinerError: the topics don't have these partitions.
    """
    count = len(log.bounds(topics.impressions))
    if share.last >= count:
        raise JoinerError(f"got partitions {share}, expected some of {topics.impressions!r}, which has 0 to {count - 1}")
    for _ in range(_TRIES):
        writer = log.writer(joiner_of(topics, share), joiner_of(topics))
        try:
            with closing(log.writer(joiner_of(topics))) as claim:
                fence_others(log, topics, share)
                claim.commit([], progress())
        except FencedError:
            writer.close()
            time.sleep(random.uniform(0, _PAUSE))  # noqa: S311 - so that two don't meet again
        except BaseException:
            writer.close()
            raise
        else:
            return writer
    raise FencedError(f"could not take partitions {share} in {_TRIES} tries: other joiners keep taking theirs")


def fence_others(log: Log, topics: Topics, share: Share | None) -> None:
    """Fence each joiner of another share with a partition in this one; None: in any."""
    found = {
        share_in(entry)
        for topic in input_topics(topics)
        for p, entry in log.progress(joiner_of(topics), topic).items()
        if share is None or p in share.partitions
    }
    for other in found - {share, None}:
        logger.info("Fencing the joiner of partitions %s", other)
        log.writer(joiner_of(topics, other), joiner_of(topics)).close()
