"""``GET /v1/freshness``: how long the last heartbeats took from the joiner to this server, hop by hop."""

from collections.abc import Sequence

import numpy as np
from fastapi import APIRouter

from service.api.answers import Answer
from service.api.dependencies import ServiceDep
from service.api.messages import ArmFreshness, ArrivedHeartbeat, Freshness
from service.api.openapi import operation
from stream.records.heartbeat import TARGET, Heartbeat

router = APIRouter(tags=["state"])


@router.get("/v1/freshness", **operation(Freshness))
async def freshness(service: ServiceDep) -> Answer:
    """Return the hop times of the last heartbeats, also while nothing else comes: each arrives once all before it is in service."""
    now = service.clock()
    return Answer(Freshness(TARGET, [_of_arm(name, tuple(each.heartbeats), now) for name, each in service.arms.living.items()]))


def _of_arm(arm: str, heartbeats: Sequence[Heartbeat], now: float) -> ArmFreshness:
    if not heartbeats:
        return ArmFreshness(arm, None, None, None, [])
    last = heartbeats[-1]
    p50, p95 = np.quantile([each.seconds for each in heartbeats], [0.5, 0.95]).tolist()
    since = max(0.0, now - last.sent / 1000 - last.seconds)
    return ArmFreshness(arm, since, p50, p95, [ArrivedHeartbeat(each.sent, each.seconds, each.hops) for each in heartbeats])
