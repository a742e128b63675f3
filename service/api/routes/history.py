"""``GET /v1/history`` and ``/v1/values``, for the console: how the last hours went, and which values the model has seen most.

``POST /v1/simulated`` lets a simulated site say what the best possible log loss is; a real site can't know it.
"""

from typing import Annotated

from fastapi import APIRouter, Request
from msgspec import Meta, Struct
from msgspec.json import Decoder

from service.api.answers import Answer, BadRequestError
from service.api.dependencies import Body, ServiceDep
from service.api.messages import Accepted, ModelState
from service.api.monitoring.frequent import FieldValues
from service.api.monitoring.history import EVERY, Hold
from service.api.monitoring.log_watch import LogSize, SetAside
from service.api.openapi import operation
from service.api.routes.model import state_of
from stream.records.events import UNREADABLE
from stream.records.version import LearnerState

router = APIRouter(tags=["state"])


class Recorded(Struct, frozen=True):
    """How the last hours went, by samples of a server; a value that is not known is null."""

    every: float  # seconds from one sample to the next, where they are not thinned
    now: float  # epoch seconds
    samples: dict[str, list[float | None]]
    model: ModelState | None  # None: there are no weights yet
    learner: LearnerState | None  # what the learner said of itself last
    arms: dict[str, LearnerState]  # the same of the learner of each arm
    holds: list[Hold]
    set_aside: list[SetAside] | None  # None: this server can't read the dead letters
    log: LogSize | None  # None: the log's files are another's


class Values(Struct, frozen=True):
    """What a request can ask about: of each field the values that the newest examples had most often."""

    fields: list[FieldValues]
    examples: int  # that were read


class Simulated(Struct, frozen=True, forbid_unknown_fields=True):
    """What a simulated site knows of itself."""

    best_log_loss: Annotated[float, Meta(ge=0, le=100)]  # of predicting the true click probabilities


_simulated = Decoder(Simulated)


@router.get("/v1/history", **operation(Recorded))
async def history(request: Request, service: ServiceDep) -> Answer:
    """Return samples of the last hours, six at most; with `since`, an epoch time in seconds, those after it."""
    kept, watch = service.history, service.history.watch
    arms = {name: weights.learner for name, weights in service.arms.living.items() if weights.learner}
    return Answer(
        Recorded(
            EVERY,
            service.clock(),
            kept.since(_since(request)),
            state_of(service) if service.served_weights.has_weights else None,
            service.served_weights.learner,
            arms,
            list(kept.holds),
            watch.set_aside() if watch and watch.readable else None,
            watch.size if watch else None,
        )
    )


@router.get("/v1/values", **operation(Values, problems={503: "No weights yet."}))
async def values(service: ServiceDep) -> Answer:
    """Return the fields, and of each the most frequent values among the newest examples; of a field with personal data none."""
    fields = service.served_weights.predictor.weights.spec.fields
    found, examples = await service.frequent.ask(fields)
    return Answer(Values(found, examples))


EXAMPLES = {"best": {"best_log_loss": 0.41}}


@router.post("/v1/simulated", **operation(Accepted, reads=Simulated, examples=EXAMPLES, problems={422: "The body is wrong."}))
async def simulated(body: Body, service: ServiceDep) -> Answer:
    """Take note of the best log loss that is possible, which the console then shows for half a minute."""
    try:
        service.history.note_best(_simulated.decode(body).best_log_loss)
    except UNREADABLE as error:
        raise BadRequestError("best_log_loss", str(error)) from error
    return Answer(Accepted(1))


def _since(request: Request) -> float:
    """Return the time that a request names.

    Raises:
        BadRequestError: it is no number.
    """
    given = request.query_params.get("since", "0")
    try:
        return float(given)
    except ValueError as error:
        raise BadRequestError("since", f"got {given[:40]!r}, expected epoch seconds") from error
