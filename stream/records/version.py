"""The records of the topic ``versions``: each names a state of the weights, and says what was learned since the one before."""

from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from stream.records.events import Count, Forget, decode
from stream.records.times import Time
from stream.sampling import Sampling


class Run(NamedTuple):
    """Examples of one partition that were learned one after the other: offsets ``first`` to ``last``, both included."""

    partition: Count
    first: Count
    last: Count


class Round(NamedTuple):
    """Records that follow each other in the runs of a version, which ranks learned from one base: a part each, as equal as can be.

    The base is the weights after the round before it. The parts follow each other, too; :func:`model.rounds.split` cuts them.
    """

    records: Count
    ranks: Annotated[int, Meta(ge=1)]  # 1: learned one after the other


class SnapshotRef(Struct, frozen=True):
    """Where a snapshot is in ``weights``."""

    version: Count
    first: Count  # its chunks are first to last in the snapshots' partition
    last: Count
    deltas: Count  # the first delta after it, in the deltas' partition


class Archived(Struct, frozen=True):
    """A copy of a checkpoint in the archive."""

    version: Count
    size: Count  # bytes
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Rollback(Struct, frozen=True):
    """The weights went back to those of the version ``to``; the versions in between no longer count."""

    to: Count
    replay: bool  # learn again what those versions had learned; else go on after it
    by: str | None = None  # who asked for it


class LearnerState(Struct, frozen=True, omit_defaults=True):
    """What a learner says of itself now and then, for people. The scores are those of predictions made before learning."""

    examples: Count = 0  # the newest, which the scores are of
    log_loss: float | None = None
    base_rate_log_loss: float | None = None  # that of always predicting their click rate
    wide_log_loss: float | None = None  # that of the wide term alone
    auc: float | None = None
    calibration: float | None = None  # predicted clicks by clicks
    curve: list[tuple[float, float, Count]] = []  # of a twentieth of the examples each: mean prediction, click rate, how many
    terms: dict[str, float] = {}  # term of the logit → its size in the newest examples, on average
    fields: dict[str, float] = {}  # field → by how much it moves the logit there, on average
    lag_records: Count = 0
    lag_seconds: float = 0.0
    rows: Count = 0  # of the table, occupied
    expired_rows: Count = 0  # that gave way to newer values, since the model began


class Begun(Struct, frozen=True, omit_defaults=True):
    """The weights began as those of another arm's version, as far as they fit, or as weights that were imported."""

    arm: str | None  # None: imported
    version: Count
    accumulators: bool  # with its accumulators; else they began as a new model's
    digest: str | None = None  # of imported weights


class Version(Struct, frozen=True, omit_defaults=True):
    """A state of the weights: what was learned since the version before, in order, and the digest that identifies it."""

    version: Count
    digest: str
    examples: Count
    trained_through: Time | None
    offsets: dict[int, int]  # partition → the next example to learn
    runs: list[Run]
    excluded: list[tuple[int, int]]  # (partition, offset) of examples whose step was undone
    settings: str
    fingerprint: str
    published_at: Time
    snapshot: SnapshotRef | None = None
    archived: list[Archived] = []  # the newest copies of checkpoints, the oldest first
    rollback: Rollback | None = None  # it happened before the runs
    begun: Begun | None = None  # it happened before the runs; of an arm's first version
    spec: dict[str, Any] | None = None  # the model's settings, if they are new; the runs were learned with them
    forgotten: list[Forget] = []  # the requests among the runs, without who asked
    log_loss: float | None = None  # of the recent predictions made before learning, where arms are compared
    forgot_before: Count | None = None  # the last version before this one that forgot a value
    reread: dict[int, int] = {}  # partition → the offset up to which examples are still to be read again after a rollback
    held: dict[str, str] = {}  # why its arrays are not published: the check that failed and what it found; empty: it is good
    order: Literal["approve", "hold"] | None = None  # a person's, about what is learned so far; there are no runs then
    by: str | None = None  # whose order it is
    learner: LearnerState | None = None  # every other second
    sampling: Sampling | None = None  # of the negatives of its runs; None: all were learned
    left_out: Count = 0  # negatives of its runs that were not learned
    rounds: list[Round] = []  # how its records were shared among ranks; empty: one has learned all


def last_forgetting(version: Version) -> int | None:
    """Return the number of the last version, up to this one, that forgot a value."""
    return version.version if version.forgotten else version.forgot_before


def trained_through(version: Version) -> int | None:
    """Return the latest event time that a version has learned, at most the time of its publication.

    An earlier program took the time of any example.
    """
    return version.trained_through and min(version.trained_through, version.published_at)


def decode_version(value: bytes | None) -> Version:
    """Decode a record of ``versions``.

    Raises:
        BadRecordError: it is not a version.
    """
    return decode(_version, Version, value)


_version = msgspec.json.Decoder(Version)
