"""What each command prints with ``--json``: the types that ``sml schema`` makes JSON Schemas of.

A result that has a type of its own (a report, a finding, a line of a benchmark) is described by that. Times are epoch ms.
"""

from collections.abc import Mapping
from pkgutil import resolve_name
from types import GenericAlias
from typing import Any, NamedTuple, NotRequired, TypedDict, get_type_hints

import msgspec

from experiments.report import Report
from service.api.messages import Explanation, Identifier
from service.doctor.finding import Finding
from stream.dead_letters import Retried
from stream.sampling import Sampling
from stream.schema import json_schema


def objects_of(kind: type[NamedTuple]) -> Any:
    """Return the type of objects with the fields of a named tuple, as ``_asdict`` gives them."""
    return msgspec.defstruct(kind.__name__, list(get_type_hints(kind).items()), namespace={"__doc__": kind.__doc__})


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


class Snapshot(TypedDict):
    """A version of the weights."""

    version: int
    digest: str
    examples: int
    trained_through: int | None
    offsets: dict[int, int]  # partition → the next example to learn
    sampling: NotRequired[Sampling]  # of negatives; absent: all were learned


class RolledBack(Snapshot):
    """The version that was published."""

    rolled_back_to: int


class Ordered(Snapshot):
    """The version that was ordered."""

    order: str
    held: dict[str, str]


class Rebuilt(Snapshot):
    """A past version, written to a file."""

    file: str


class VerifiedFile(TypedDict):
    """A checkpoint, and what is wrong with it."""

    file: str
    problem: str | None


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


class Shares(TypedDict):
    """Which arm answers which share of the units."""

    experiment: str
    control: str
    shares: dict[str, float]


class Decision(Shares):
    """What somebody decided about the arms."""

    time: int
    by: str | None
    action: str


class ArmProgress(TypedDict):
    """An arm."""

    arm: str
    role: str
    share: float
    experiment: str
    version: int | None
    examples: int
    lag: int
    examples_per_second: float | None
    log_loss: float | None
    log_loss_of_control: float | None
    trained_through: int | None
    digest: str | None


class Key(TypedDict):
    """What is known of a key."""

    id: str
    roles: str  # separated by commas
    created: str  # ISO 8601
    name: str


class CreatedKey(Key):
    """A key, which is shown once."""

    key: str


class Learned(TypedDict):
    """The last version of a learner."""

    arm: NotRequired[str]  # with --arms
    version: int | None
    digest: str | None
    examples: int
    trained_through: int | None
    log_loss: float | None


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


class Scores(TypedDict):
    """Scores of predictions made before learning, and by which protocol."""

    examples: int
    log_loss: float | None
    auc: float | None
    normalized_entropy: float | None
    calibration: float | None
    bad: int  # rows with a feature that its field does not take
    excluded: int  # rows whose step was undone
    examples_per_second: float
    protocol: str
    delay: str
    together: list[str]


class Evaluated(Scores, LeftOut):
    """An evaluation."""

    weights_digest: str
    not_learned: int
    in_time_order: bool


class ComparedSettings(Scores):
    """The evaluation of one of several settings, and by how much its log loss is above that of the best, with its interval."""

    settings: str
    above_best: float | None
    low: float | None
    high: float | None


class Comparison(TypedDict):
    """Several settings, the best first."""

    verdict: str
    settings: list[ComparedSettings]


class CandidatePrediction(TypedDict):
    """The click probability of a candidate."""

    id: Identifier
    probability: float


class Origin(TypedDict):
    """Which weights have answered."""

    version: int
    trained_through: int | None
    digest: str


class Predicted(Origin):
    """The answer to a request for predictions."""

    predictions: list[CandidatePrediction]
    ignored: NotRequired[list[str]]  # with "debug": true


class Explained(Origin):
    """The answer to a request for explanations."""

    explanations: list[Explanation]


class Exported(TypedDict):
    """The version that was written, and where to."""

    version: int
    digest: str
    examples: int
    format: str
    folder: str


class Imported(TypedDict):
    """What the model begins with."""

    digest: str
    parameters: int
    rows: int
    begins_anew: str


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


RESULTS: Mapping[str, Any] = {
    "topics create": dict[str, bool],
    "topics update": dict[str, str],
    "arms list": (list[ArmProgress], list[Decision]),  # the second with --decisions
    "arms start": Shares,
    "arms stop": Shares,
    "arms promote": Shares,
    "arms retire": Shares,
    "snapshots list": list[Snapshot],
    "snapshots verify": list[VerifiedFile],
    "snapshots rollback": RolledBack,
    "snapshots approve": Ordered,
    "snapshots hold": Ordered,
    "rebuild": Rebuilt,
    "dead-letters list": list[DeadLetters],
    "dead-letters show": DeadLetter,
    "dead-letters retry": objects_of(Retried),
    "keys create": CreatedKey,
    "keys list": list[Key],
    "keys revoke": Key,
    "experiment report": Report,
    "forget": (Forgotten, list[Place]),  # the second with --verify
    "learn": (Learned, list[Learned]),  # the second with --arms
    "replay": Replayed,
    "evaluate": Evaluated,
    "compare": Comparison,
    "predict": Predicted,
    "explain": Explained,
    "export": Exported,
    "import": Imported,
    "simulate": Simulated,
    "doctor": GenericAlias(list, (objects_of(Finding),)),
    # Of what may be missing here, such as torch; of lines that the command prints.
    "bench step": "service.bench.step:StepSpeed",
    "bench table": "service.bench.table:TableSpeed",
    "bench learn": "service.bench.learn:LearnSpeed",
    "bench predict": "service.bench.predict:PredictSpeed",
    "bench publish": "service.bench.publish:Freshness",
    "reproduce": "paper.reproduce:Done",
}


def schema(command: str) -> dict[str, Any]:
    """Return the JSON Schema of what a command, one of :data:`RESULTS`, prints with ``--json``.

    >>> schema("topics create")["additionalProperties"]
    {'type': 'boolean'}
    """
    kind = RESULTS[command]
    if isinstance(kind, str):
        kind = objects_of(resolve_name(kind))
        kind = kind if command == "reproduce" else GenericAlias(list, (kind,))
    return json_schema(f"sml {command} --json", kind if isinstance(kind, tuple) else (kind,))
