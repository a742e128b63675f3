"""What commands say of what is learned: versions, arms, scores and predictions. Times are epoch ms."""

from typing import NotRequired, TypedDict

from service.api.messages import Explanation, Identifier
from service.results.stored import LeftOut
from stream.sampling import Sampling


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


class Learned(TypedDict):
    """The last version of a learner."""

    arm: NotRequired[str]  # with --arms
    version: int | None
    digest: str | None
    examples: int
    trained_through: int | None
    log_loss: float | None


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
