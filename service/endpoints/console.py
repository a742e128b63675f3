"""What is read by eye and by Prometheus: the console page at ``/``, and ``/metrics``."""

from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.endpoints.service import ServiceDep

router = APIRouter(tags=["state"])

PAGE = Path(__file__).parent.parent / "console.html"


@router.get("/", include_in_schema=False)
async def console() -> FileResponse:
    """Show the console page."""
    return FileResponse(PAGE, media_type="text/html")


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(service: ServiceDep) -> Response:
    """Give the metrics, as Prometheus reads them."""
    return Response(generate_latest(service.registry), media_type=CONTENT_TYPE_LATEST)
