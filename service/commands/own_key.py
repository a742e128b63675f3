"""The key with which commands of ours ask a server: ``SML_KEY``, never an option, which others on the machine could read."""

import os

VARIABLE = "SML_KEY"


def key_header() -> dict[str, str]:
    """Return the header that carries the key, if there is one."""
    key = os.environ.get(VARIABLE)
    return {"Authorization": f"Bearer {key}"} if key else {}
