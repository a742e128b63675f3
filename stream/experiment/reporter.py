"""Reading the examples of an experiment into its sums, each once, whatever is killed.

A transaction of the sums' own file holds what a batch adds and the offsets that follow it. A batch is added to by no other, so a restart
goes on where the last transaction ended. Examples that were deleted before they were counted are counted as missing, never passed over in
silence.
"""

import logging
import time
from collections.abc import Callable
from contextlib import closing
from typing import TypeAlias

from model.settings import Field
from stream.experiment.counting import ALL, Counting
from stream.experiment.freshness import Freshness
from stream.experiment.plan import NEVER, ExperimentError, Plan
from stream.experiment.sums import Sums
from stream.learn.forgotten import KEPT, check
from stream.log.contract import Log, LogUnavailableError, OffsetGoneError, Reader, Record
from stream.log.topics import Topics
from stream.log.trouble import AWAY, BACK, Trouble
from stream.records.events import BadRecordError, Forget, decode_example_or_forget

logger = logging.getLogger(__name__)

Look: TypeAlias = Callable[[Sums, Plan], None]

BATCH = 10_000  # records in one transaction
POLL_WAIT = 0.2  # seconds
INTERVAL = 1.0  # seconds between tries while the log is away


class Reporter:
    """The one reader of an experiment.

    Args:
        log: The log.
        topics: The model's topics.
        sums: Where what is counted is kept.
        plan_of: Returns the experiment as it is now; asked before each batch is counted.
        unit: The field whose value is the unit, by which what was shown before there were arms is joined; None: it is not.
        at_once: Whether impressions are negative examples at once (``label_policy`` other than ``window``).
        retention: Seconds for which the log keeps examples: so long after the experiment's end its units are kept, too.
    """

    def __init__(
        self,
        log: Log,
        topics: Topics,
        sums: Sums,
        plan_of: Callable[[], Plan],
        *,
        unit: Field | None = None,
        at_once: bool = False,
        retention: float = 0.0,
    ) -> None:
        self._log, self._topics, self._sums, self._plan_of = log, topics, sums, plan_of
        self._unit, self._at_once, self._retention = unit, at_once, retention
        self.plan, self._trouble = plan_of(), Trouble(logger)
        read = {arm: sums.state(f"versions of {arm}", 0) for arm in self.plan.versions}
        self._freshness = Freshness(log, self.plan.versions, read)

    def run(self, should_stop: Callable[[], bool], *, until_caught_up: bool = False, look: Look | None = None) -> None:
        """Count until asked to stop, or until all is counted that the log held at the start. While the log is away, keep trying.

        ``look`` is shown the sums, and the plan that they were counted by, between batches.

        Raises:
            ExperimentError: more was counted than the log holds: it is another log.
        """
        with closing(self._freshness):
            while not should_stop():
                try:
                    with closing(self._open()) as reader:
                        self._read(reader, should_stop, look, until_caught_up=until_caught_up)
                except OffsetGoneError as error:
                    logger.warning("Looking at what the log still holds: %s", error)
                except LogUnavailableError as error:
                    self._trouble.report(AWAY, error)
                    time.sleep(INTERVAL)
                else:
                    return

    def _open(self) -> Reader:
        """Open a reader from where the last transaction ended; count what is missing there."""
        start, progress = {}, self._sums.progress()
        missing = 0
        for partition, bounds in self._log.bounds(self._topics.examples).items():
            start[partition] = progress.get(partition, bounds.first)
            if start[partition] > bounds.end:
                raise ExperimentError(
                    f"examples of partition {partition} were counted up to {start[partition]}, but {self._topics.examples} ends at "
                    f"{bounds.end}: it is another log. Delete the file of the sums to count anew"
                )
            if start[partition] < bounds.first:
                missing += bounds.first - start[partition]
                start[partition] = bounds.first
        if missing:
            logger.warning("%s examples were deleted before they were counted", missing)
        with self._sums.transaction():
            self._sums.begin(self.plan)
            self._sums.count({(ALL, "deleted"): missing} if missing else {})
            self._sums.set_progress(start)
        return self._log.reader(self._topics.examples, start)

    def _read(self, reader: Reader, should_stop: Callable[[], bool], look: Look | None, *, until_caught_up: bool) -> None:
        ends = {partition: bounds.end for partition, bounds in self._log.bounds(self._topics.examples).items()}
        self._trouble.over(BACK)

        def is_done() -> bool:
            positions = reader.positions()
            return should_stop() or (until_caught_up and all(positions[p] >= end for p, end in ends.items()))

        while not is_done():
            records = reader.poll(BATCH, POLL_WAIT)
            if records:
                self._take(records, reader.positions())
            if look:
                look(self._sums, self.plan)

    def _take(self, records: list[Record], positions: dict[int, int]) -> None:
        """Count a batch, and write what it adds with the positions after it."""
        self.plan = self._plan_of()  # what was served by a decision is read after that decision
        with self._sums.transaction():
            self._sums.begin(self.plan)
            counting = Counting(self.plan, self._unit, self._sums.state("begun", NEVER), at_once=self._at_once)
            for record in records:
                self._count(record, counting)
            self._add(counting)
            self._sums.write_bins()
            self._sums.set_progress(positions)
            self._sums.keep(**{f"versions of {arm}": offset for arm, offset in self._freshness.positions().items()})
            if records[-1].timestamp > self.plan.until + 1000 * self._retention:
                self._sums.fold()

    def _count(self, record: Record, counting: Counting) -> None:
        try:
            event = decode_example_or_forget(record.value)
            if isinstance(event, Forget):
                check(event, record)
        except BadRecordError:
            return  # the learner sets it aside
        if isinstance(event, Forget):
            self._add(counting)
            self._sums.forget(event.key, event.until, event.until - KEPT)
        else:
            counting.take(event, self._sums.forgotten)

    def _add(self, counting: Counting) -> None:
        self._freshness.measure(counting)
        self._sums.add(counting)
