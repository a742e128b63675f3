"""Who joins: ``sml join``, or one job of Flink's; what neither does is to begin while the other may still write.

A job takes over before it reads anything. Beside each offset that ``sml join`` has committed, it writes that Flink joins the partition:
from then on a joiner refuses to start, at first for that mark, later for the offsets that Flink has committed with nothing beside them.
"""

from contextlib import closing
from typing import cast

from stream.flink.task_log import unmarked
from stream.inputs.decode import input_topics
from stream.join.recovery import progress_of
from stream.join.share import FLINK, fence_others, is_flinks, job_of, joiner_of
from stream.log.contract import FencedError, Log
from stream.log.kafka.client import WAIT
from stream.log.kafka.log import OWNERS, KafkaWriter
from stream.log.reading import read_all
from stream.log.topics import Topics
from stream.settings import JoinSettings


def take_over(log: Log, topics: Topics, settings: JoinSettings) -> str:
    """Fence each ``sml join`` and an older job, say beside the offsets that Flink joins, and return the token of the new job.

    Raises:
        FencedError: a joiner or another job has begun meanwhile.
        JoinerError: the topics don't fit each other, or the log does not fit the progress.
    """
    with closing(log.writer(joiner_of(topics))) as writer:
        fence_others(log, topics, None)
        known = [entry for topic in input_topics(topics) for entry in log.progress(joiner_of(topics), topic).values()]
        if not any(map(is_flinks, known)):
            writer.commit([], progress_of(log, topics, settings, None, name=FLINK))
        with closing(cast("KafkaWriter", log.writer(job_of(topics)))) as job:
            return job.token.decode()


def give_back(log: Log, topics: Topics) -> None:
    """Let ``sml join`` go on, after a job that has ended and never committed anything."""
    known = {(topic, p): entry for topic in input_topics(topics) for p, entry in log.progress(joiner_of(topics), topic).items()}
    if any(map(is_flinks, known.values())):
        with closing(log.writer(joiner_of(topics))) as writer:
            writer.commit([], {where: unmarked(entry) for where, entry in known.items()})


class Ownership:
    """The name of a job, for as long as the newest owner record holds its token.

    No epoch of a producer fences a job: one whose transaction somebody else has ended begins another. So its tasks ask before each
    checkpoint, and whatever is committed thereafter was read before the name was taken.
    """

    def __init__(self, log: Log, name: str, token: str) -> None:
        self._log, self._name, self._token = log, name, token
        self._found = ""
        self._next = log.bounds(OWNERS)[0].first

    def check(self) -> None:
        """Make sure that the name is still the job's.

        Raises:
            FencedError: another process has taken it.
        """
        end = self._log.bounds(OWNERS)[0].end
        if end > self._next:
            for record in read_all(self._log, OWNERS, {0: self._next}, {0: end}, timeout=WAIT):
                if record.key == self._name.encode():
                    self._found = (record.value or b"").decode()
            self._next = end
        if self._found != self._token:
            raise FencedError(f"another process owns {self._name!r}: expected its record to hold {self._token!r}, got {self._found!r}")
