"""Logs that version 0.1.0 poisoned itself with, made by that version (commit 9714d9f): how the ``.db.gz`` beside this came about.

    git worktree add /tmp/old 9714d9f && cd /tmp/old && python …/tests/poisoned/make.py FOLDER

Each holds honest traffic that was joined and learned, then the poison, then honest traffic that the poison spoiled.
"""

import gzip
import sys
import time
import zlib
from pathlib import Path

from prometheus_client import CollectorRegistry

from model.settings import Field, ModelSettings, Spec, TableSettings
from stream.events import Click, Example, Impression, encode
from stream.join_metrics import JoinerMetrics
from stream.joiner import Joiner
from stream.learner import Learner
from stream.log import Message
from stream.metrics import LearnerMetrics
from stream.settings import JoinSettings, LearnSettings
from stream.sqlite_log import SqliteLog
from stream.topics import Topics, create

TOPICS = Topics("sml")
SPEC = Spec(model=ModelSettings(hidden=(4,), embedding=2), table=TableSettings(capacity=64), fields=(Field(name="user"),))
JOIN = JoinSettings(click_window=3.0, lateness=1.0)
YEAR_2100 = 4_102_444_800_000
STEP = 100  # ms from one impression to the next


class Site:
    """A log, its joiner and its learner."""

    def __init__(self, folder: Path, name: str, partitions: int = 1) -> None:
        self.path = folder / f"{name}.db"
        self.log = SqliteLog(f"sqlite:///{self.path}")
        self.learning = LearnSettings(directory=str(folder / name))
        create(self.log, TOPICS, partitions)
        self.partitions, self.number, self.begin = partitions, 0, int(time.time() * 1000) - 60_000

    def shown(self, name: str, at: int) -> Message:
        return Message(TOPICS.impressions, name.encode(), encode(Impression(name, at, {"user": f"u{zlib.crc32(name.encode()) % 9}"})))

    def clicked(self, name: str, at: int, partition: int | None = None) -> Message:
        return Message(TOPICS.clicks, name.encode(), encode(Click(name, at)), partition=partition)

    def honest(self, count: int, *, crc32: bool = False) -> None:
        """Write impressions, every third of them clicked."""
        for _ in range(count):
            name, at = f"i{self.number}", self.begin + self.number * STEP
            partition = zlib.crc32(name.encode()) % self.partitions if crc32 else None
            self.log.append([self.shown(name, at)] + ([self.clicked(name, at + 50, partition)] if self.number % 3 == 0 else []))
            self.number += 1

    def run(self) -> None:
        """Join and learn all that there is."""
        Joiner(self.log, TOPICS, JOIN, JoinerMetrics(CollectorRegistry())).run(lambda: False, until_caught_up=True)
        Learner(self.log, TOPICS, SPEC, self.learning, LearnerMetrics(CollectorRegistry())).run(lambda: False, until_caught_up=True)

    def close(self) -> None:
        """Pack the log; its checkpoints are not kept: the log gives the same state."""
        self.log.close()
        self.path.with_suffix(".db.gz").write_bytes(gzip.compress(self.path.read_bytes(), mtime=0))


def main() -> None:
    """Make all four."""
    folder = Path(sys.argv[1])

    future = Site(folder, "future")
    future.honest(150)
    future.run()
    for name, at in (("ahead", YEAR_2100), ("further ahead", YEAR_2100 + 10_000)):
        future.log.append([future.shown(name, at), future.clicked(name, at)])
    future.honest(60)
    future.run()
    future.close()

    seconds = Site(folder, "seconds")
    seconds.honest(150)
    seconds.run()
    for n in range(30):
        seconds.log.append([seconds.shown(f"s{n}", int(time.time())), seconds.clicked(f"s{n}", int(time.time()))])
    seconds.honest(60)
    seconds.run()
    seconds.close()

    weight = Site(folder, "weight")
    weight.honest(150)
    weight.run()
    heavy = Example("heavy", weight.begin, {"user": "u1"}, 1, weight=1e6)
    weight.log.append([Message(TOPICS.examples, b"heavy", encode(heavy))])
    weight.honest(60)
    weight.run()
    weight.close()

    keys = Site(folder, "keys", partitions=4)
    keys.honest(200, crc32=True)
    keys.run()
    keys.close()


if __name__ == "__main__":
    main()
