"""What was read since the last version, which the next one publishes."""

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from stream.dead_letters import dead_letter, learn_stage
from stream.learn.trainer import BatchResult
from stream.log.contract import Message, Record
from stream.log.message import size_of
from stream.log.topics import Topics
from stream.records.events import Forget
from stream.records.heartbeat import Heartbeat
from stream.records.version import Begun, LearnerState, Rollback, Round, Run
from stream.sampling import Sampling
from stream.traces import MOST_LEARNED, context_of

# Limits of what may wait for a version. A run, a round, an excluded example or a request to forget takes up to 57 bytes, and the version's
# record 1,000,000.
MOST = 10_000  # runs, excluded examples and requests; dead letters too
MOST_BYTES = 16_000_000  # of dead letters
MOST_HEARTBEATS = 10  # the newest: whoever floods `examples` with them floods nothing else


class PendingVersion:
    """The next version, but for its weights: which examples were read since the last version, and what became of them.

    Args:
        offsets: Partition → next example to read.
        trained_through: The latest event time learned so far, epoch ms.
        rollback: The rollback that this version publishes; nothing was read after it.
        reread: Partition → the offset up to which examples are read again after a rollback.
        dead_lettered: Partition and offset of those among them that are dead letters already.
        sampling: Which negatives of the examples are learned; None: all.
        new_settings: The model's settings were others in the last version, or there was no version.
        begun: The other arm's version that the weights begin with.
    """

    def __init__(
        self,
        offsets: Mapping[int, int],
        trained_through: int | None,
        rollback: Rollback | None = None,
        *,
        reread: Mapping[int, int] | None = None,
        dead_lettered: Iterable[tuple[int, int]] = (),
        sampling: Sampling | None = None,
        new_settings: bool = False,
        begun: Begun | None = None,
    ) -> None:
        self.offsets, self.trained_through, self.rollback, self.new_settings = dict(offsets), trained_through, rollback, new_settings
        self.begun = begun
        self._reread, self._dead_lettered = reread or {}, frozenset(dead_lettered)
        self.sampling, self.left_out = sampling, 0
        self.runs: list[Run] = []
        self.rounds: list[Round] = []
        self.excluded: list[tuple[int, int]] = []
        self.forgotten: list[Forget] = []
        self.dead_letters: list[Message] = []
        self.learner: LearnerState | None = None  # what the version is to say of the learner
        self.heartbeats: deque[Heartbeat] = deque(maxlen=MOST_HEARTBEATS)
        self.traced: deque[tuple[bytes, int]] = deque(maxlen=MOST_LEARNED)  # contexts, and when the log took their examples
        self._bytes = 0  # of the dead letters

    def add(self, records: Sequence[Record], result: BatchResult, topics: Topics) -> None:
        """Add the next ``records``, and the result of learning them."""
        for partition, group in groupby(records, lambda record: record.partition):
            offsets = [record.offset for record in group]
            first = self.runs.pop().first if self.runs and self.runs[-1].partition == partition else offsets[0]
            self.runs.append(Run(partition, first, offsets[-1]))
        alone = self.rounds and self.rounds[-1].ranks == result.ranks == 1
        self.rounds.append(Round((self.rounds.pop().records if alone else 0) + len(records), result.ranks))
        self.traced.extend((context, each.timestamp) for each in records if each.headers and (context := context_of(each)))
        if result.learned or result.others:
            self.trained_through = max(self.trained_through or 0, result.trained_through)
        self.left_out += result.left_out
        self.excluded += [(record.partition, record.offset) for record, _ in result.excluded]
        self.forgotten += [Forget(request.forget, request.until) for request in result.forgotten]
        letters = [
            dead_letter(record, learn_stage(topics), error, topics)
            for record, error in result.bad + result.excluded
            if (record.partition, record.offset) not in self._dead_lettered
        ]
        self.dead_letters += letters
        self._bytes += sum(size_of(letter) for letter in letters)

    def reach(self, offsets: dict[int, int], heartbeats: Iterable[Heartbeat]) -> None:
        """Note that everything before ``offsets`` is learned, so that the ``heartbeats`` there have another hop behind them."""
        self.offsets = offsets
        self.heartbeats.extend(heartbeat.after_hop(time.time()) for heartbeat in heartbeats)

    def full(self) -> bool:
        """Return whether a version must be published now: a larger one might not fit in a record or in memory."""
        return (
            max(len(self.runs) + len(self.rounds) + len(self.excluded) + len(self.forgotten), len(self.dead_letters)) > MOST
            or self._bytes > MOST_BYTES
        )

    def reread(self) -> dict[int, int]:
        """Return partition → the offset up to which examples are still to be read again."""
        return {partition: end for partition, end in self._reread.items() if end > self.offsets.get(partition, 0)}

    def next(self) -> "PendingVersion":
        """Return the pending version that begins where this one ends."""
        reread = self.reread()
        letters = self._dead_lettered if reread else ()
        return PendingVersion(self.offsets, self.trained_through, reread=reread, dead_lettered=letters, sampling=self.sampling)
