"""What commands say of what is stored: records, keys, and the traffic that they write."""

from typing import NotRequired, TypedDict

DeadLetters = TypedDict(
    "DeadLetters",
    {"count": int, "not_retried": int, "topic": str, "stage": str, "class": str, "reason": str, "newest": int, "newest_at": int},
)


DeadLetter = TypedDict(
    "DeadLetter",
    {
        "topic": str,
        "partition": int,
        "offset": int,
        "stage": str,
        "class": str,
        "message": str,
        "key": str | None,
        "headers": dict[str, str],
        "value": str | None,
    },
)


class Forgotten(TypedDict):
    """What was forgotten; of an arm, its version is in ``forgotten_by_version_of_ARM``."""

    fields: list[str]
    keys: list[str]
    impressions: int
    forgotten_by_version: NotRequired[int | str]
    not_reached: str


class Place(TypedDict):
    """A place that may answer to a value; None: that could not be seen."""

    where: str
    answers: NotRequired[bool | None]
    records: NotRequired[int]


class Key(TypedDict):
    """What is known of a key."""

    id: str
    roles: str  # separated by commas
    created: str  # ISO 8601
    name: str


class CreatedKey(Key):
    """A key, which is shown once."""

    key: str


class LeftOut(TypedDict):
    """How many rows were left out."""

    unreadable: int
    unlabelled: int


class Replayed(LeftOut):
    """What was written."""

    rows: int
    clicks: int
    last_time: int | None
    sorted: bool
    rows_per_second: float


class ServedTo(TypedDict):
    """What an arm has served."""

    log_loss: float
    value_per_impression: float


class Simulated(TypedDict):
    """The traffic of a simulated site."""

    visits: int
    clicks: int
    failed: int
    examples: int | None
    log_loss: float | None
    best_log_loss: float | None
    mean_log_loss: float | None
    arms: dict[str, ServedTo]
