"""``GET /docs``: the description of the API, for people. Its script and its style are ours to serve, so it needs nobody else.

The page holds no data; what a visitor tries there is asked by the API, with the visitor's key. Only its own script and ours run.
"""

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse

from service.api.routes.console import NOTHING, hashes

router = APIRouter(tags=["state"], include_in_schema=False)

FOLDER = Path(__file__).parents[1] / "swagger_ui"
SCRIPT, STYLE = "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Return the page that describes the API."""
    root = request.scope.get("root_path", "").rstrip("/")
    answer = get_swagger_ui_html(
        openapi_url=f"{root}/openapi.json",
        title="SML Online",
        swagger_js_url=root + SCRIPT,
        swagger_css_url=root + STYLE,
        swagger_favicon_url="data:,",
    )
    script = f"script-src 'self' {hashes(bytes(answer.body).decode(), 'script')}"
    answer.headers["Content-Security-Policy"] = f"{NOTHING}; {script}; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
    return answer


@router.get(SCRIPT)
@router.get(STYLE)
def swagger_ui(request: Request) -> FileResponse:
    """Return Swagger UI's script, or its style."""
    return FileResponse(FOLDER / request.scope["route"].path.rpartition("/")[2])
