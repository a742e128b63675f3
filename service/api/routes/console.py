"""``GET /``: the console, for people.

The page holds no data: it asks for it by the API, with the visitor's key. No script runs but the files that are served here, and they may
turn no text into markup at all (trusted types).
"""

import base64
import hashlib
import re
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse

from service.access.roles import CONSOLE

router = APIRouter(tags=["state"], include_in_schema=False)

FOLDER = Path(__file__).parents[1] / "console"
PAGE = (FOLDER / "index.html").read_text(encoding="utf-8")
NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; connect-src 'self'"
POLICY = f"{NOTHING}; script-src 'self'; style-src 'self'; img-src 'self' data:; require-trusted-types-for 'script'; trusted-types 'none'"


def hashes(page: str, tag: str) -> str:
    """Return the sources of a policy that allow what stands within these tags of a page."""
    inline = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in inline)


@router.get("/")
async def console() -> HTMLResponse:
    """Return the console page."""
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})


def part(request: Request) -> FileResponse:
    """Return a script or a style of the console."""
    return FileResponse(FOLDER / request.scope["route"].path.removeprefix("/console/"))


for path in sorted(CONSOLE):
    router.add_api_route(path, part)
