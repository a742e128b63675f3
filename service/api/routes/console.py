"""``GET /``: the console, for people.

The page holds no data: it asks for it by the API, with the visitor's key. No script runs but the one in the file, named by hash, and it may
turn no text into markup at all (trusted types).
"""

import base64
import hashlib
import re
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

router = APIRouter(tags=["state"])

PAGE = (Path(__file__).parent / "console.html").read_text(encoding="utf-8")
NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; connect-src 'self'"


def hashes(page: str, tag: str) -> str:
    """Return the sources of a policy that allow what stands within these tags of a page."""
    inline = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in inline)


POLICY = (
    f"{NOTHING}; script-src {hashes(PAGE, 'script')}; style-src {hashes(PAGE, 'style')}; img-src 'self' data:"
    "; require-trusted-types-for 'script'; trusted-types 'none'"
)


@router.get("/", include_in_schema=False)
async def console() -> HTMLResponse:
    """Return the console page."""
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})
