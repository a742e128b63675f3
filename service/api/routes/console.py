"""``GET /``: the console page, for people."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

router = APIRouter(tags=["state"])

PAGE = Path(__file__).parent / "console.html"


@router.get("/", include_in_schema=False)
async def console() -> FileResponse:
    """Return the console page."""
    return FileResponse(PAGE, media_type="text/html")
