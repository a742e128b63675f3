"""``DELETE`` and ``GET /v1/users/{value}``: forget a person, and look whether anything answers to them."""

import msgspec
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.convertors import PathConvertor, register_url_convertor

from model.settings import Field
from service.api.answers import Answer, BadRequestError
from service.api.dependencies import Service, ServiceDep
from service.api.openapi import operation
from service.telemetry.audit import record
from stream.forget import ForgetError, ask, fields_to_forget, keys_of


class _Text(PathConvertor):
    """Any text: a value may hold slashes and line breaks."""

    regex = "(?s:.*)"


register_url_convertor("text", _Text())
router = APIRouter(tags=["privacy"])

PROBLEMS = {422: "The field is unknown, or has no row for the value alone.", 503: "No weights yet, or the log is away."}


class Forgetting(msgspec.Struct, frozen=True):
    """The log has stored the requests; the learner carries them out, and the next version of the weights is without the value."""

    fields: list[str]
    keys: list[str]  # of the value in each field, as `versions` will name them
    until: int  # epoch ms: impressions up to here are not learned any more


class Known(msgspec.Struct, frozen=True):
    """Whether the weights in service have a row for a value, and their version."""

    fields: dict[str, bool]
    version: int


@router.delete("/v1/users/{value:text}", **operation(Forgetting, status=202, problems=PROBLEMS))
async def forget(request: Request, value: str, service: ServiceDep, field: str | None = None) -> Answer:
    """Forget a value of a field: default the fields of `privacy.fields`. Its rows go, and no impression from before is learned again."""
    fields = _fields(service, field)
    until, caller = service.now() + service.rule.clock_skew, request.scope["caller"].name
    try:
        requests = await run_in_threadpool(ask, service.log, service.topics, fields, value, until, caller)
    except ForgetError as error:
        raise BadRequestError("value", str(error)) from error
    names, keys = [each.name for each in fields], [each.forget for each in requests]
    record(caller, "forgot", f"{', '.join(names)}: {', '.join(keys)}")
    return Answer(Forgetting(names, keys, until), 202)


@router.get("/v1/users/{value:text}", **operation(Known, problems=PROBLEMS))
async def known(value: str, service: ServiceDep, field: str | None = None) -> Answer:
    """Return whether the weights in service, of any arm, have a row of their own for a value."""
    fields = _fields(service, field)
    try:
        keys = keys_of(fields, value)
    except ForgetError as error:
        raise BadRequestError("value", str(error)) from error
    predictors = [weights.predictor for weights in service.arms.living.values() if weights.has_weights]
    rows = [any(predictor.weights.has(key) for predictor in predictors) for key in keys]
    version = service.served_weights.predictor.header.version
    return Answer(Known(dict(zip([each.name for each in fields], rows, strict=True)), version))


def _fields(service: Service, named: str | None) -> list[Field]:
    try:
        return fields_to_forget(service.served_weights.predictor.weights.spec.fields, named, service.personal)
    except ForgetError as error:
        raise BadRequestError("field", str(error)) from error
