"""Build the wheel: the packages of this repository become parts of one, ``sml_online``, and import each other there.

In the repository they keep their short names; nobody who installs the program gets a package named ``model`` or ``service``. The sources
are taken as they are, but for the lines that import one of the packages.
"""

import re
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGES = ("model", "experiments", "paper", "stream", "service")
NAMESPACE = "sml_online"
_NAME = rf"(?:{'|'.join(PACKAGES)})"
_FROM = re.compile(rf"^(\s*)from ({_NAME}(?:\.\w+)*) import ", re.MULTILINE)
_DOTTED = re.compile(rf"^(\s*)import ({_NAME}\.[\w.]+)", re.MULTILINE)
_WHOLE = re.compile(rf"^(\s*)import ({_NAME})$", re.MULTILINE)


def moved(source: str) -> str:
    """Return a module's source with the packages' new names where it imports them.

    >>> moved("from model.encoding.keys import key_of")
    'from sml_online.model.encoding.keys import key_of'
    """
    source = _FROM.sub(rf"\1from {NAMESPACE}.\2 import ", source)
    source = _DOTTED.sub(rf"\1import {NAMESPACE}.\2", source)
    return _WHOLE.sub(rf"\1from {NAMESPACE} import \2", source)


class CustomBuildHook(BuildHookInterface):
    """Puts the packages into the namespace; an editable install has them as they are."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name every file of the wheel, with its place there."""
        if version == "editable":
            return
        root = Path(self.root)
        self._moved = tempfile.TemporaryDirectory()
        for package in (*PACKAGES, NAMESPACE):
            for path in sorted((root / package).rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    place = Path("" if package == NAMESPACE else NAMESPACE, path.relative_to(root))
                    build_data["force_include"][str(self._taken(path, place))] = place.as_posix()

    def _taken(self, path: Path, place: Path) -> Path:
        """Return the file to take: a module's copy with other imports, anything else as it is."""
        if path.suffix != ".py":
            return path
        copy = Path(self._moved.name, place)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(moved(path.read_text(encoding="utf-8")), encoding="utf-8")
        return copy

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the copies."""
        del build_data, artifact_path
        if version != "editable":
            self._moved.cleanup()
