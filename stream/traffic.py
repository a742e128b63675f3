"""Follow the decisions about arms: the newest is in force in this process a moment after it was written.

While the log is away, what was last decided stays in force.
"""

import logging
from collections.abc import Callable
from contextlib import closing

from stream.arms import Traffic, decode_traffic
from stream.log.contract import Log, LogError
from stream.log.reading import sleep_unless
from stream.log.topics import Topics
from stream.log.trouble import Trouble
from stream.records.events import BadRecordError

logger = logging.getLogger(__name__)

_BATCH = 64  # decisions in one poll
_PATIENCE = 0.1  # seconds that a poll waits for one
_RETRY = 0.5  # seconds before the log is tried again


class TrafficFollower:
    """Holds the decision that is in force.

    Args:
        log: The log to read it from.
        topics: The names of the topics.
        begins: What is in force until somebody decides.

    Attributes:
        traffic: The decision in force.
        caught_up: All that was decided when this began is known.
    """

    def __init__(self, log: Log, topics: Topics, begins: Traffic) -> None:
        self._log, self._topics = log, topics
        self.traffic, self.caught_up, self._trouble = begins, False, Trouble(logger)

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Follow until told to stop."""
        while not should_stop():
            try:
                self._follow(should_stop)
            except LogError as error:
                self._trouble.report("which arm answers whom stays as it is", error)
                sleep_unless(should_stop, _RETRY)

    def _follow(self, should_stop: Callable[[], bool]) -> None:
        """Read all decisions from the first on; none is in force before all that were there are read."""
        bounds, newest = self._log.bounds(self._topics.arms)[0], self.traffic
        with closing(self._log.reader(self._topics.arms, {0: bounds.first})) as reader:
            while not should_stop():
                for record in reader.poll(_BATCH, _PATIENCE):
                    try:
                        newest = decode_traffic(record)
                    except BadRecordError as error:
                        logger.warning("passing over offset %s of %s: %s", record.offset, record.topic, error)
                if reader.positions()[0] >= bounds.end:
                    self._put_in_force(newest)

    def _put_in_force(self, newest: Traffic) -> None:
        if newest != self.traffic:
            logger.info("arms: %s by %s: %s", newest.action, newest.by, newest.points())
        self.traffic, self.caught_up = newest, True
        self._trouble.over()
