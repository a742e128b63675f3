"""``sml evaluate``: progressive validation on a recorded file; no log is needed.

The examples are learned in the file's order, one a step, as the learner does with the same examples: its weights have the same digest.
The protocol says when an example is predicted: right before it is learned (``usual``), or with what a server would have known (``served``).
"""

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from operator import gt
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import Encoder
from model.encoding.keys import FeatureError
from model.evaluation.progressive import learn_and_score
from model.evaluation.scores import RunningScores
from model.evaluation.served import ServedStream
from model.online import OnlineModel
from model.settings import Spec, TableSettings
from service.commands.compile import compile_kernels
from service.screen import counting, say_notes
from service.settings import Settings
from stream.ahead import ahead
from stream.files.columns import LoggedBlock, read_blocks
from stream.files.layout import Logged
from stream.files.left_out import LeftOut
from stream.files.opened import Recorded, name_of
from stream.files.rows import columns
from stream.log.settings import format_duration, parse_duration
from stream.sampling import NO_SALT, Sampling
from stream.settings import DataSettings

T = TypeVar("T")

TOO_GOOD = 0.98  # an AUC that no honest log has given: above it, some field knows the answer


class ProtocolError(Exception):
    """A protocol can't be followed on this file."""


class Protocol(NamedTuple):
    """When an example is predicted."""

    name: Literal["usual", "served"] = "usual"  # where delay and together come from, if they were not given
    delay: float = 0.0  # seconds from an example's time to its label
    together: tuple[str, ...] = ()  # columns that the rows of one page have equal

    def told(self) -> dict[str, Any]:
        """Return it as it is printed."""
        return {"protocol": self.name, "delay": format_duration(self.delay), "together": list(self.together)}


USUAL = Protocol()


class Evaluation:
    """A model, scored on each example by the prediction that the protocol asks for."""

    def __init__(
        self, spec: Spec, protocol: Protocol = USUAL, scores: RunningScores | None = None, sampling: Sampling | None = None
    ) -> None:
        self.model = OnlineModel(spec)
        self.scores = scores or RunningScores()
        self.bad = 0  # rows with a feature that its field does not accept
        self.undone = 0  # steps that were not finite
        self.backwards = 0  # rows earlier than the row before
        self.not_learned = 0  # rows that are scored alone
        self._sampling = sampling
        self._encoder = Encoder(spec.fields)
        self._last = -1  # time
        self._served: ServedStream | None = None
        if protocol.delay or protocol.together or sampling:
            weight = sampling.weight if sampling else 1.0
            self._served = ServedStream(self.model, self.scores, round(protocol.delay * 1000), weight)

    def encoded(self, block: LoggedBlock) -> LoggedBlock:
        """Return a block with its features as keys, which may be done ahead."""
        return replace(block, features=block.encoded(self._encoder))

    def learn(self, block: LoggedBlock) -> dict[int, FeatureError]:
        """Predict, score and learn each example, in order; return the index of each that no field takes, and the error."""
        encoded, times = block.encoded(self._encoder), block.times
        self.bad += len(encoded.bad)
        self.backwards += sum(map(gt, [self._last, *times], times))
        self._last = times[-1]
        learned = self._learned(block)
        if self._served:
            self._served.learn_and_score(encoded, times, block.labels, block.pages, learned)
        else:
            self.undone += len(learn_and_score(self.model, self.scores, encoded, block.labels).undone)
        return encoded.bad

    def _learned(self, block: LoggedBlock) -> NDArray[np.bool_] | None:
        """Return which rows are learned, ``(N,)``: as by the learner, where a row's number is its impression's id; None: all."""
        if not self._sampling:
            return None
        takes = self._sampling.chooser()
        taken = [takes(str(number), at) for number, at in zip(block.numbers, block.times, strict=True)]
        learned = np.array(taken, np.bool_) | (block.labels > 0)
        self.not_learned += int(np.count_nonzero(~learned))
        return learned

    def finish(self) -> None:
        """Learn what the protocol holds back until the stream ends."""
        if self._served:
            self._served.finish()
            self.undone = self._served.undone

    def result(self) -> dict[str, Any]:
        """Return what ``--json`` prints, except the speed."""
        return {
            **self.scores.total()._asdict(),
            "weights_digest": self.model.digest(),
            "bad": self.bad,
            "excluded": self.undone,
            "not_learned": self.not_learned,
            "in_time_order": not self.backwards,
        }


def evaluate(recorded: Recorded, settings: Settings, protocol: Protocol | None = None, salt: str = NO_SALT) -> dict[str, Any]:
    """Evaluate on a recorded log, with progress and notes on stderr; the default protocol is that of :func:`protocol_of`.

    ``salt`` is that of the versions of a learner, to leave out what it leaves out.

    Raises:
        FileError: it can't be read, or lacks a column of ``protocol.together``.
    """
    protocol = protocol or protocol_of(settings)
    data = settings.data.model_copy(update={"together": protocol.together})
    check_together(recorded, data)
    compile_kernels(settings.model.network)
    load_kernels(settings.spec)
    evaluation = Evaluation(settings.spec, protocol, sampling=sampling_of(settings, salt))
    left_out = LeftOut(data.max_bad)
    start = time.perf_counter()
    blocks = read_blocks(recorded, data, {field.name for field in settings.spec.fields}, left_out)
    for block in counting(ahead(map(evaluation.encoded, blocks)), name_of(recorded)):
        evaluation.learn(block)
    evaluation.finish()
    seconds = time.perf_counter() - start
    say_notes(left_out.notes())
    result = evaluation.result() | left_out.counts()
    return {**result, "examples_per_second": round(result["examples"] / seconds, 1), **protocol.told()}


def sampling_of(settings: Settings, salt: str = NO_SALT) -> Sampling | None:
    """Return which negatives are learned, as ``keep_negatives`` says; None: all.

    Raises:
        ProtocolError: the salt is none.
    """
    if not re.fullmatch("[0-9a-f]{32}", salt):
        raise ProtocolError(f"salt: got {salt!r}, expected 32 digits in hex, as `sml snapshots list` shows it")
    rate = settings.learn.keep_negatives
    return None if rate == 1 else Sampling(rate, salt)


def protocol_of(
    settings: Settings,
    name: Literal["usual", "served"] | None = None,
    delay: str | None = None,
    together: str | None = None,
) -> Protocol:
    """Return the protocol that is asked for; what is None is taken from the settings.

    Args:
        settings: Where the columns, the label's policy and its windows are.
        name: ``served``: delay and pages as in the settings; ``usual``: none. None: ``served`` if the file has a time.
        delay: A duration, or ``window``: as long as the joiner would wait under the settings' policy.
        together: Columns, separated by commas, or ``none``.

    Raises:
        ProtocolError: the delay is no duration, or needs a time that the file doesn't have.
    """
    timed = settings.data.timed
    name = name or ("served" if timed else "usual")
    delay = delay or ("window" if name == "served" else "0s")
    pages = settings.data.together if together is None and name == "served" else _columns(together)
    try:
        seconds = settings.join.decided_after if delay == "window" else parse_duration("0s" if delay == "0" else delay)
    except ValueError as error:
        raise ProtocolError(f"delay: got {delay!r}, expected {error}, or window") from error
    if seconds and not timed:
        raise ProtocolError(f"delay: got {delay!r} for a file without a time, expected 0, or the column of the time in [data] time")
    return Protocol(name, seconds, pages)


def _columns(together: str | None) -> tuple[str, ...]:
    return () if together in (None, "none") else tuple(name.strip() for name in together.split(","))


def check_together(recorded: Recorded, data: DataSettings) -> None:
    """Raise an error unless the file has the columns of a page."""
    existing = columns(recorded, data) if data.together else []
    for name in data.together:
        if name not in existing:
            raise ProtocolError(f"together: got {name!r}, expected columns of {name_of(recorded)} ({', '.join(existing)})")


def load_kernels(spec: Spec) -> None:
    """Load the kernels, by an example without features, so that loading them does not count in the speed."""
    small = Evaluation(spec.model_copy(update={"table": TableSettings(capacity=8)}), Protocol(delay=1.0))
    small.learn(LoggedBlock.of([Logged(number=0, time=0, label=0, features={}, clicked_at=None)]))
    small.finish()
    small.result()


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Split into lists of ``size``; the last may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
