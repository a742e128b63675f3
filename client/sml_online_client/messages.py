"""What is sent and what is answered; names and meanings are those of the server's OpenAPI document.

Answers may have more fields than these: a newer server's are passed over.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, TypeAlias

from msgspec import Struct

Scalar: TypeAlias = str | int | float | bool | None
Features: TypeAlias = Mapping[str, Scalar | Sequence[Scalar]]
Time: TypeAlias = int | datetime  # epoch ms, or a datetime that knows its offset
Log: TypeAlias = bool | Sequence[str | int] | Mapping[Literal["top"], int] | Literal["chosen"]


class Served(Struct, frozen=True, omit_defaults=True):
    """By which arm and version of the weights an impression was shown, and how that arm was chosen."""

    version: int | None = None
    probability: float | None = None
    arm: str | None = None
    experiment: str | None = None
    propensity: float | None = None
    unit: str | None = None
    assigned: str | None = None
    choice: float | None = None
    forced: bool = False


class Prediction(Struct, frozen=True):
    """The click probability of one candidate, and the id to send with its impression and its click."""

    id: str | int
    probability: float
    impression_id: str


class Choice(Struct, frozen=True):
    """A candidate to show, and the chance with which it was chosen."""

    id: str | int
    impression_id: str
    propensity: float


class Predictions(Struct, frozen=True, omit_defaults=True):
    """Predictions for all candidates, in their order, all from one version of the weights."""

    predictions: list[Prediction]
    version: int
    trained_through: int | None  # epoch ms: time of the newest event that was learned
    staleness_seconds: float
    served: Served | None = None
    chosen: list[Choice] = []  # in the order in which to show them
    stale_arms: list[str] = []
    ignored: list[str] | None = None  # the features that no field reads; None: not asked for


class Explanation(Struct, frozen=True, omit_defaults=True):
    """The logit of one candidate as the sum that it is: ``bias + Σ wide + Σ skip + Σ cross + main + branch``, within rounding."""

    id: str | int
    probability: float
    logit: float
    bias: float
    wide: dict[str, float]
    skip: list[float]
    main: float
    deep: dict[str, float]
    cross: list[float] = []
    branch: float = 0.0
    records: dict[str, float] = {}


class Explanations(Struct, frozen=True, omit_defaults=True):
    """Explanations of all candidates, in their order, all from one version of the weights."""

    explanations: list[Explanation]
    version: int
    trained_through: int | None
    staleness_seconds: float
    served: Served | None = None
    stale_arms: list[str] = []


class Problem(Struct, frozen=True):
    """Why a request failed, and which field of its body is at fault, if one is."""

    detail: str
    field: str | None = None
