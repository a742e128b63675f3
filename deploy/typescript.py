"""Write the types of the TypeScript client from the server's OpenAPI document: ``make client``."""  # noqa: INP001

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

from service.api.app import build
from stream.log.contract import Log
from stream.log.topics import Topics

FOLDER = Path(__file__).parents[1] / "client/typescript"
TYPES = FOLDER / "src/schema.ts"


def document() -> dict[str, Any]:
    """Return the OpenAPI document, which no log and no weights change."""
    return build(cast("Log", None), Topics("sml"), lambda *_: None).openapi()


def write(types: Path) -> None:
    """Write the types of :func:`document` by openapi-typescript, which ``npm ci`` has installed.

    Raises:
        CalledProcessError: openapi-typescript has failed.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(document(), file)
        file.flush()
        # What has a default may be left out: of a request, and so does an answer.
        command = ["npx", "--no-install", "openapi-typescript", file.name, "--default-non-nullable=false", "--output", str(types)]
        subprocess.run(command, cwd=FOLDER, check=True, stdout=sys.stderr)  # noqa: S603


if __name__ == "__main__":
    write(TYPES)
