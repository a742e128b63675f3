"""The settings of the join, the learner's loop and recorded files."""

import codecs
import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field as Setting, SecretStr, field_validator, model_validator

from stream.log.settings import Duration, LogSettings, Port, Section
from stream.sampling import LEAST

# No user and no password stand in it, nor in what follows the question mark: the storage's own variables, files and roles have them.
_ARCHIVE = (
    r"(s3://[^@:/?#\s]+|gs://[^@:/?#\s]+|abfss?://([^@:/?#\s]+@)?[^@:/?#\s]+|file://)(/[^?#@\s]*)?"
    r"(\?((region|scheme|endpoint_override|tls_ca_file_path|retry_limit_seconds|enable_tls)=[^&@\s]+&?)+)?"
)


class JoinSettings(Section):
    """How impressions and clicks become examples."""

    label_policy: Literal["window", "fnw", "fnc"] = "window"
    """window labels an impression after click_window; fnw and fnc label it at once, and correct that in learning or in serving"""
    click_window: Duration = 600.0
    """how long after its impression a click counts"""
    late_clicks: Literal["drop", "learn"] = "drop"
    """under window: whether a click that is up to click_window too late becomes an extra example"""
    lateness: Duration = 60.0
    """by how much records may be out of order"""
    clock_skew: Duration = 60.0
    """by how much an event may be later than its append time; a later one is set aside"""
    accept_future: bool = False
    """whether records that `sml replay --future` wrote may be later than that: for made-up logs only"""
    rekey: bool = False
    """whether to join through internal topics keyed by the impression id, so that writers may use any keys"""
    schema_registry: Annotated[str, Setting(pattern=r"^https?://[^@]+$")] | None = None
    """where the schemas of events in Avro or Protobuf are, https://registry:8081, say; it needs the extra sml-online[registry]"""
    schema_registry_user: str | None = None
    """the user or key that the registry asks for"""
    schema_registry_password: SecretStr | None = None
    """its password: SML_JOIN__SCHEMA_REGISTRY_PASSWORD keeps it out of this file"""
    idle_after: Duration = 5.0
    """after so long without records, a partition no longer holds up the others"""
    most_waiting: Annotated[int, Setting(ge=1_000_000)] = 4_000_000_000
    """the most bytes of memory for impressions and clicks that wait for each other; above it the joiner ends and says so"""
    metrics_port: Port = 9102
    """the port of the joiner's /metrics; 0 takes any free port"""
    metrics_host: str = "127.0.0.1"
    """the address of the joiner's /metrics; 0.0.0.0 for every interface, which needs keys, an issuer, or [access] insecure"""

    @property
    def decided_after(self) -> float:
        """How long after its impression a label is learned, in seconds: at once under ``fnw`` and ``fnc``."""
        return self.click_window + self.lateness if self.label_policy == "window" else 0.0


class LearnSettings(Section):
    """The learner's loop."""

    directory: str = "data/checkpoints"
    """where checkpoints are kept"""
    publish_every: Duration = 0.1
    """the time from one version of the weights to the next, while there is something to learn"""
    checkpoint_every: Duration = 30.0
    """the time between checkpoints: after a kill, at most so much is learned again"""
    snapshot_every: Duration = 300.0
    """the time between snapshots: a new server starts from one and applies the deltas since"""
    keep: Annotated[int, Setting(ge=1)] = 3
    """how many checkpoints are kept"""
    max_weight: Annotated[float, Setting(gt=0)] = 100.0
    """an example with a larger weight is set aside"""
    keep_negatives: Annotated[float, Setting(ge=LEAST, le=1)] = 1.0
    """the share of the examples without a click that is learned, each with weight 1 / keep_negatives; 1 learns all"""
    max_lag: Annotated[Duration, Setting(ge=1)] | None = None
    """how far learning may fall behind, 1m, say: before that it learns fewer negatives, with larger weights; default: however far"""
    slices: Annotated[tuple[str, ...], Setting(max_length=4)] = ()
    """up to four fields of kind categorical or weekday whose values, the first 20 of each, have scores of their own in the metrics"""
    metrics_port: Port = 9101
    """the port of the learner's /metrics; 0 takes any free port"""
    metrics_host: str = "127.0.0.1"
    """the address of the learner's /metrics; 0.0.0.0 for every interface, which needs keys, an issuer, or [access] insecure"""


def _check_archive(url: str | None) -> str | None:
    if url is None or re.fullmatch(_ARCHIVE, url):
        return url
    raise ValueError("s3://bucket/folder, gs://bucket/folder, abfs://container@account.dfs.core.windows.net/folder or file:///folder")


class ArchiveSettings(Section):
    """Copies of checkpoints on object storage."""

    url: Annotated[str | None, AfterValidator(_check_archive)] = None
    """where they go: s3://bucket/folder?region=…, gs://…, abfs://… or file:///…, credentials apart; none: there are no copies"""
    every: Duration = 600.0
    """the time between copies: a learner that has lost its checkpoints learns at most so much again"""


def least_retention(log: LogSettings, join: JoinSettings, learn: LearnSettings) -> float:
    """Return for how many seconds records must be kept, so that processes that are restarted find all that they need.

    The joiner reads again what may still get a click, or be a duplicate. The learner learns again what came after the oldest checkpoint
    that is kept; while nothing is learned, a version, and a checkpoint of it, comes four times in the retention of the weights.
    """
    windows = 2 if join.late_clicks == "drop" else 3
    joiner = windows * join.click_window + 2 * join.lateness + join.clock_skew + join.idle_after
    learner = learn.keep * max(learn.checkpoint_every, log.weights_retention / 4) + learn.snapshot_every
    return joiner + learner


def _check_positive(comparison: str) -> str:
    if not re.fullmatch(r"(>=|>|<=|<|=|!=) *-?[0-9]+(\.[0-9]+)?|!?= *[^ <>=!].*", comparison):
        raise ValueError("a comparison, such as '>= 4', '= oui' or '!= none'")
    return comparison


class DataSettings(Section):
    """The columns of a recorded file, for ``evaluate`` and ``replay``."""

    format: Literal["auto", "csv", "tsv", "jsonl", "parquet", "avazu", "criteo", "libsvm", "libffm", "vw"] = "auto"
    """auto goes by the file's name; or one of csv, tsv, jsonl, parquet, avazu, criteo, libsvm, libffm, vw (Vowpal Wabbit's)"""
    encoding: str | None = None
    """the encoding of a text, such as latin-1; unset: UTF-8, or UTF-16 where the file says so"""
    names: tuple[str, ...] = ()
    """the columns of a CSV or TSV that has no header"""
    label: str = "click"
    """the column that says whether the impression was clicked: 0 or 1, -1 or 1, yes or no, true or false; empty: it is left out"""
    positive: Annotated[str, AfterValidator(_check_positive)] | None = None
    """which labels are clicks, where they are numbers or other words, such as >= 4 or = oui"""
    time: str | tuple[str, ...] | None = None
    """the column of the impression's time: epoch seconds, ms, µs or ns, or ISO 8601; or the columns of its date and hour"""
    time_format: str | None = None
    """how the time is written, if not so, as in Python's strptime: %d/%m/%Y %H:%M"""
    click_time: str | None = None
    """the column of the click's time, if the file has one"""
    together: tuple[str, ...] = ()
    """the columns that neighbouring rows of one page have equal: `sml evaluate` predicts a page before it learns it"""
    max_bad: Annotated[float, Setting(ge=0, le=1)] = 0.001
    """the share of rows that may be unreadable and are left out; more end the reading"""

    @property
    def time_columns(self) -> tuple[str, ...]:
        """The columns of the time, none where the file has no time."""
        return () if self.time is None else (self.time,) if isinstance(self.time, str) else self.time

    @property
    def timed(self) -> bool:
        """Whether the file says when each impression was shown."""
        return bool(self.time) or self.format == "avazu"

    @field_validator("encoding")
    @classmethod
    def _encoding_exists(cls, name: str | None) -> str | None:
        try:
            return name and codecs.lookup(name).name
        except LookupError:
            raise ValueError("an encoding, such as latin-1") from None

    @model_validator(mode="after")
    def _columns_differ(self) -> Self:
        named = [column for column in (self.label, *self.time_columns, self.click_time) if column is not None]
        if len(set(named)) < len(named):
            raise ValueError("a column of its own for each of label, time and click_time")
        if self.click_time and not self.time:
            raise ValueError("time, where click_time is given")
        return self
