"""What the README says under "Use it from": each row's lines."""

import re

from tests.helpers.kafka_server import ROOT

ADDRESS = "http://127.0.0.1:8000"
TABLE = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Use it from")[2].partition("\n## ")[0]
ROWS = {name: re.findall(r"`([^`]+)`", lines) for name, lines in re.findall(r"^\| (.+?) \| (.+) \|$", TABLE, re.MULTILINE) if "`" in lines}


def lines(row: str, address: str) -> str:
    """Return the lines of a row, with this address of the server."""
    return "\n".join(ROWS[row]).replace(ADDRESS, address)
