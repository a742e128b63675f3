"""The requests and the answers of the service. Every answer that comes from weights names their version."""

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct

from stream.arms import Role
from stream.records.events import Served
from stream.records.times import Time

MAX_CANDIDATES = 1000
MAX_LISTED = 400_000  # values in the lists of a context, counted once for each candidate
MAX_FIELDS = 1000  # of a context or candidate
MAX_TEXT = 10_000  # characters of a feature's text or name

Identifier: TypeAlias = str | int
Text: TypeAlias = Annotated[str, Meta(max_length=MAX_TEXT)]
Scalar: TypeAlias = Text | int | float | bool | None
Feature: TypeAlias = Scalar | list[Scalar]
Features: TypeAlias = Annotated[dict[Text, Feature], Meta(max_length=MAX_FIELDS)]
Candidate: TypeAlias = Annotated[
    Features,
    Meta(extra_json_schema={"required": ["id"], "properties": {"id": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}}),
]


class Top(Struct, frozen=True, forbid_unknown_fields=True):
    """The most probable candidates."""

    top: Annotated[int, Meta(ge=1, le=MAX_CANDIDATES)]


class ExplainRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """One context and its candidates.

    A candidate's features override the context's. Its ``id`` is a feature only if a field has that name.
    """

    candidates: Annotated[list[Candidate], Meta(min_length=1, max_length=MAX_CANDIDATES)]
    context: Features = {}
    time: Time | None = None  # epoch ms or ISO 8601, from which hour and weekday are derived; default: now


class PredictRequest(ExplainRequest, frozen=True):
    """One context and its candidates, and which of them are logged or chosen.

    A candidate's features override the context's. Its ``id`` is a feature only if a field has that name.

    ``log`` writes impressions before answering, with the features as served, of candidates that are shown: ``true`` where all are, else
    their ids, ``{"top": k}``, or ``"chosen"``. An impression of a candidate that nobody saw teaches that it is not clicked.
    """

    log: bool | Annotated[list[Identifier], Meta(max_length=MAX_CANDIDATES)] | Top | Literal["chosen"] = False
    choose: Annotated[int, Meta(ge=1, le=MAX_CANDIDATES)] | None = None  # candidates to show
    debug: bool = False  # name the features that were ignored


class Prediction(Struct, frozen=True):
    """The click probability of one candidate, and the id to send with its impression and its click."""

    id: Identifier
    probability: float
    impression_id: str


class Choice(Struct, frozen=True):
    """A candidate to show, and the chance with which it was chosen."""

    id: Identifier
    impression_id: str
    propensity: float


class Predictions(Struct, frozen=True, omit_defaults=True):
    """Predictions for all candidates, in their order, all from one version of the weights.

    ``staleness_seconds`` is the time since those weights were published: it rises when no newer ones come. Where several models serve,
    ``served`` says which of them answered: what a site that logs its own impressions puts there. With ``debug``, ``ignored`` names the
    features that no field of the model has, such as misspelt ones.
    """

    predictions: list[Prediction]
    version: int
    trained_through: int | None  # epoch ms: time of the newest event that was learned
    staleness_seconds: float
    served: Served | None = None
    chosen: list[Choice] = []  # in the order in which to show them
    stale_arms: list[str] = []  # that control answers for: their weights are missing or stale
    ignored: list[str] | None = None  # None: not asked for


class Explanation(Struct, frozen=True, omit_defaults=True):
    """The logit of one candidate as the sum that it is: ``bias + Σ wide + Σ skip + Σ cross + main + branch``, within rounding.

    ``deep`` says what each field gives ``skip``, ``cross``, ``main`` and ``branch`` together: what goes when the field is as one never
    seen. These do not add up, since fields act together.
    """

    id: Identifier
    probability: float
    logit: float  # where the label policy is fnc, of what is learned there: the probability is exp(logit), at most 1
    bias: float  # the base rate included
    wide: dict[str, float]  # field → its own weight
    skip: list[float]  # the skip term of each hidden layer
    main: float  # the main path: the last hidden layer by the output weights
    deep: dict[str, float]  # field → what goes without it
    cross: list[float] = []  # the skip term of each cross layer
    branch: float = 0.0  # what stands beside the tower, but for its cross layers' terms
    records: dict[str, float] = {}  # field → the log-odds of a click by its values' own record, an input of the deep part


class Explanations(Struct, frozen=True, omit_defaults=True):
    """Explanations of all candidates, in their order, all from one version of the weights."""

    explanations: list[Explanation]
    version: int
    trained_through: int | None  # epoch ms: time of the newest event that was learned
    staleness_seconds: float
    served: Served | None = None
    stale_arms: list[str] = []


class Accepted(Struct, frozen=True):
    """The log has stored the events."""

    accepted: int


class Held(Struct, frozen=True):
    """Versions that are not served: the newest of them, and why, by the check of the guard that holds it."""

    version: int
    why: dict[str, str]


class ArmState(Struct, frozen=True):
    """An arm, and its weights, if it has any."""

    arm: str
    role: Role
    share: float
    stale: bool  # control answers for it
    version: int | None = None
    digest: str | None = None
    examples: int | None = None
    trained_through: int | None = None
    staleness_seconds: float | None = None


class ModelState(Struct, frozen=True, omit_defaults=True):
    """The weights in service: their version, what they have learned, and what the model reads."""

    version: int
    digest: str
    examples: int
    trained_through: int | None
    published_at: int
    staleness_seconds: float
    caught_up: bool
    held: Held | None  # None: versions are good, and served as they come
    network: dict[str, Any]
    table: dict[str, Any]
    fields: list[dict[str, Any]]
    experiment: str | None = None
    arms: list[ArmState] = []


class ServedModel(Struct, frozen=True):
    """A model of the server."""

    name: str
    ready: bool  # its weights have caught up with the log
    reason: str | None  # why not


class ServedModels(Struct, frozen=True):
    """The models of the server; paths without a name mean the first."""

    models: list[ServedModel]


class ArrivedHeartbeat(Struct, frozen=True):
    """A heartbeat that has come the whole way."""

    sent: int  # epoch ms
    seconds: float  # of the whole way
    hops: dict[str, float]  # seconds, in order; below 0 where the clock of the process that ends the hop is behind


class ArmFreshness(Struct, frozen=True):
    """How long heartbeats took to the weights of an arm."""

    arm: str
    since_last_seconds: float | None  # since the last arrived; None: none has since the server's start
    p50_seconds: float | None
    p95_seconds: float | None
    heartbeats: list[ArrivedHeartbeat]  # of the last two minutes of them, the newest last


class Freshness(Struct, frozen=True):
    """How long an event takes until it is in service, without its wait for clicks: what heartbeats say, which come once a second."""

    target_seconds: float  # 95 % of a month's heartbeats take no longer
    arms: list[ArmFreshness]


class Health(Struct, frozen=True):
    """The state of the server."""

    status: str
