"""A site that asks for keys: honest traffic has one, whoever means harm has another of the same roles, and the name of the first."""

from pathlib import Path

from service.access.keys import create
from tests.faults.traffic import SETTINGS
from tests.helpers.site import Site

SECOND = 100  # requests a second of one key: more than honest traffic sends
PROCESSES = ("join", "learn", "serve")


class KeyedSite(Site):
    """A site with two keys.

    Args:
        folder: The site's folder; its ``sml.toml`` is written here.
        url: The log's URL.

    Attributes:
        honest: The key of honest traffic, which nobody else knows.
        other: The attackers' key.
    """

    def __init__(self, folder: Path, url: str) -> None:
        (folder / "sml.toml").write_text(SETTINGS.replace('"1h"', '"1s"'))
        keys = folder / "keys.json"
        self.honest, self.other = (create(keys, ["predict", "ingest"], name)[0] for name in ("honest", "other"))
        super().__init__(folder, url, SML_ACCESS__KEYS=str(keys), SML_LIMITS__REQUESTS_PER_SECOND=str(SECOND))
        self.answered_429 = 0  # requests of others than the honest

    @property
    def server(self) -> str:
        """The server's URL."""
        return f"http://127.0.0.1:{self.ports['serve']}"
