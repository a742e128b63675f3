"""``GET /metrics``, for Prometheus."""

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.api.dependencies import ServiceDep

router = APIRouter(tags=["state"])


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(service: ServiceDep) -> Response:
    """Return the metrics in Prometheus's text format."""
    return Response(generate_latest(service.exported), media_type=CONTENT_TYPE_LATEST)
