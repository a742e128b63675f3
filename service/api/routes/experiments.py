"""``GET /v1/experiments``: what experiments between the arms have shown so far."""

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from msgspec import Struct

from service.api.answers import Answer
from service.api.dependencies import ServiceDep
from service.api.openapi import operation
from service.kept_reports import KeptReport, kept

router = APIRouter(tags=["state"])


class Experiments(Struct, frozen=True):
    """The newest report of each experiment, the one that was made last first."""

    experiments: list[KeptReport]


@router.get("/v1/experiments", **operation(Experiments))
async def experiments(service: ServiceDep) -> Answer:
    """Return the report of each experiment as `sml experiment report` last made it, where it keeps its sums on this machine.

    It counts nothing: make reports as often as they are to be fresh (`--watch 60`); their intervals hold at every look.
    """
    return Answer(Experiments(await run_in_threadpool(kept, service.reports) if service.reports else []))
