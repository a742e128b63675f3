"""The audit trail: who changed what, one line each, of the logger ``audit``."""

import logging
import os
import pwd

logger = logging.getLogger("audit")


def record(who: str, action: str, subject: str) -> None:
    """Write down who did what to which thing; the line has its time and, in a server, the request's id."""
    logger.info("%s: %s %s", who, action, subject, extra={"who": who, "action": action, "subject": subject})


def this_user() -> str:
    """Return who runs this command, as ``cli:NAME``."""
    try:
        return f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:  # a container's user may have no name
        return f"cli:{os.getuid()}"
