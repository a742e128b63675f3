"""The settings of the log, the join, the learner's loop and recorded files.

Durations are written as ``100ms``, ``30s``, ``10m``, ``1h`` or ``2d``, and are seconds in the program.
"""

import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field as Setting, PlainSerializer, model_validator

from stream.log.contract import Partitioner

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")


def parse_duration(value: Any) -> float:
    """Parse ``"10m"`` as 600 seconds; a number is seconds already.

    >>> parse_duration("100ms")
    0.1
    """
    written = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if written:
        number, unit = float(written[1]), written[2]
        return number / 1_000 if unit == "ms" else number * _UNITS[unit]
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf:
        return float(value)
    raise ValueError("a duration such as 100ms, 30s, 10m, 1h or 2d")


def format_duration(seconds: float) -> str:
    """Format seconds in the largest unit that divides them, for :func:`parse_duration` to parse.

    >>> format_duration(600)
    '10m'
    """
    for unit in ("d", "h", "m", "s"):
        if seconds >= _UNITS[unit] and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    return f"{seconds * 1_000:.15g}ms" if seconds < 1 else f"{seconds!r}s"


def _check_url(url: str) -> str:
    if re.fullmatch(r"sqlite:///.+|kafka://[^/\s]+", url):
        return url
    raise ValueError("sqlite:///path/to/log.db or kafka://host:9092")


Duration = Annotated[float, BeforeValidator(parse_duration), PlainSerializer(format_duration)]
Port = Annotated[int, Setting(ge=0, le=65_535)]


class Section(BaseModel):
    """One table of ``sml.toml``: validated, immutable, without unknown keys. The text below a setting is its description."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class LogSettings(Section):
    """Where the log is."""

    url: Annotated[str, AfterValidator(_check_url)] = "sqlite:///data/log.db"
    """sqlite:///path/to/log.db or kafka://host:9092"""
    prefix: Annotated[str, Setting(pattern=r"^[A-Za-z0-9._-]+$")] = "sml"
    """topics are PREFIX.impressions, PREFIX.clicks, …"""
    partitions: Annotated[int, Setting(ge=1)] = 1
    """of impressions, clicks and examples, when `sml topics create` creates them"""
    partitioner: Partitioner = "murmur2"
    """how we choose a partition by the key: murmur2 as Java's clients do, crc32 as librdkafka's do (kcat, Python, Go, Node, .NET)"""


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
    idle_after: Duration = 5.0
    """after so long without records, a partition no longer holds up the others"""
    metrics_port: Port = 9102
    """the port of the joiner's /metrics; 0 takes any free port"""


class LearnSettings(Section):
    """The learner's loop."""

    directory: str = "data/checkpoints"
    """where checkpoints are kept"""
    publish_every: Duration = 0.1
    """the time between versions of the weights, while there is something to learn"""
    checkpoint_every: Duration = 30.0
    """the time between checkpoints: after a kill, at most so much is learned again"""
    snapshot_every: Duration = 300.0
    """the time between snapshots: a new server starts from one and applies the deltas since"""
    keep: Annotated[int, Setting(ge=1)] = 3
    """how many checkpoints are kept"""
    max_weight: Annotated[float, Setting(gt=0)] = 100.0
    """an example with a larger weight is set aside"""
    metrics_port: Port = 9101
    """the port of the learner's /metrics; 0 takes any free port"""


class DataSettings(Section):
    """The columns of a recorded file, for ``evaluate`` and ``replay``."""

    format: Literal["auto", "csv", "tsv", "jsonl", "parquet", "avazu", "criteo"] = "auto"
    """auto goes by the file's name; or one of csv, tsv, jsonl, parquet, avazu, criteo"""
    label: str = "click"
    """the column that says whether the impression was clicked: 0 or 1"""
    time: str | None = None
    """the column of the impression's time: epoch seconds or milliseconds, or ISO 8601"""
    click_time: str | None = None
    """the column of the click's time, if the file has one"""
    together: tuple[str, ...] = ()
    """the columns that neighbouring rows of one page have equal: `sml evaluate` predicts a page before it learns it"""

    @model_validator(mode="after")
    def _columns_differ(self) -> Self:
        named = [column for column in (self.label, self.time, self.click_time) if column is not None]
        if len(set(named)) < len(named):
            raise ValueError("a column of its own for each of label, time and click_time")
        if self.click_time and not self.time:
            raise ValueError("time, where click_time is given")
        return self
