"""``GET /`` and ``/docs``: the console and the description of the API, for people.

Neither page holds data: each asks for it by the API, with the visitor's key. No script of theirs runs but those in the file, named by hash,
and the console may turn no text into markup at all (trusted types).
"""

import base64
import hashlib
import re
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

router = APIRouter(tags=["state"])

PAGE = (Path(__file__).parent / "console.html").read_text(encoding="utf-8")
NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; connect-src 'self'"
CDN = "https://cdn.jsdelivr.net"


def _hashes(page: str, tag: str) -> str:
    """Return the sources of a policy that allow what stands within these tags of a page."""
    inline = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in inline)


POLICY = (
    f"{NOTHING}; script-src {_hashes(PAGE, 'script')}; style-src {_hashes(PAGE, 'style')}; img-src 'self' data:"
    "; require-trusted-types-for 'script'; trusted-types 'none'"
)


@router.get("/", include_in_schema=False)
async def console() -> HTMLResponse:
    """Return the console page."""
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> HTMLResponse:
    """Return the page that describes the API, whose scripts come from a CDN."""
    root = request.scope.get("root_path", "").rstrip("/")
    answer = get_swagger_ui_html(openapi_url=f"{root}/openapi.json", title="SML Online", swagger_favicon_url="data:,")
    script = f"script-src {CDN} {_hashes(bytes(answer.body).decode(), 'script')}"
    answer.headers["Content-Security-Policy"] = f"{NOTHING}; {script}; style-src {CDN} 'unsafe-inline'; img-src 'self' data:"
    return answer
