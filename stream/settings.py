"""The settings of the parts that move events: the log, the join, the learner's loop, a recorded file.

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
    """how many `sml topics create` gives impressions, clicks and examples"""
    partitioner: Partitioner = "murmur2"
    """how keys choose partitions in what we write: murmur2 as Java's clients do, crc32 as librdkafka's (kcat, Python, Go, Node, .NET)"""


class JoinSettings(Section):
    """How impressions and clicks become examples."""

    label_policy: Literal["window", "fnw", "fnc"] = "window"
    """window decides click_window after the impression; fnw and fnc at once, with a correction in learning or in serving"""
    click_window: Duration = 600.0
    """a click that comes later does not count"""
    late_clicks: Literal["drop", "learn"] = "drop"
    """under window, whether a click that comes up to click_window too late becomes an extra example"""
    lateness: Duration = 60.0
    """how far out of order records may be"""
    clock_skew: Duration = 60.0
    """how much later than its append time an event may be; one later than that is set aside"""
    accept_future: bool = False
    """whether records that `sml replay --future` has marked may be later than that: for made-up logs only"""
    rekey: bool = False
    """whether to join through internal topics keyed by the impression id: the sites' own keys may then be any"""
    idle_after: Duration = 5.0
    """a partition without records for so long no longer holds up the others"""
    metrics_port: Port = 9102
    """the joiner's /metrics"""


class LearnSettings(Section):
    """The learner's loop."""

    directory: str = "data/checkpoints"
    """where checkpoints are kept"""
    publish_every: Duration = 0.1
    """how old the servers' weights may get while there is something to learn"""
    checkpoint_every: Duration = 30.0
    """how much is learned again after a kill"""
    snapshot_every: Duration = 300.0
    """how many deltas a new server has to follow"""
    keep: Annotated[int, Setting(ge=1)] = 3
    """how many checkpoints are kept"""
    max_weight: Annotated[float, Setting(gt=0)] = 100.0
    """an example with a larger weight is set aside"""
    metrics_port: Port = 9101
    """the learner's /metrics"""


class DataSettings(Section):
    """What a recorded file holds, for ``evaluate`` and ``replay``."""

    format: Literal["auto", "csv", "tsv", "jsonl", "parquet", "avazu", "criteo"] = "auto"
    """by the file's name, or one of csv, tsv, jsonl, parquet, avazu, criteo"""
    label: str = "click"
    """the column that says whether it was clicked: 0 or 1"""
    time: str | None = None
    """the column of the impression's time: epoch seconds or milliseconds, or ISO 8601"""
    click_time: str | None = None
    """the column of the click's time, if the file has one"""

    @model_validator(mode="after")
    def _columns_differ(self) -> Self:
        named = [column for column in (self.label, self.time, self.click_time) if column is not None]
        if len(set(named)) < len(named):
            raise ValueError("a column of its own for each of label, time and click_time")
        if self.click_time and not self.time:
            raise ValueError("time, where click_time is given")
        return self
