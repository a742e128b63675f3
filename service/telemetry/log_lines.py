"""The form of what processes log: lines for people, or one JSON object a line for programs. Each names the request it belongs to."""

import json
import logging
from datetime import UTC, datetime
from typing import Literal, TextIO, TypeAlias

from service.access.request_id import REQUEST_ID

LogFormat: TypeAlias = Literal["text", "json"]
LOG_FORMAT = "SML_LOG_FORMAT"  # the variable by which processes know the form
EXTRAS = ("who", "action", "subject", "method", "path", "status", "seconds", "body")  # what a line of ours may carry beside its message


def printable(text: str) -> str:
    r"""Return a line that does nothing to a terminal, whatever a record or a name in it holds.

    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


class JsonLines(logging.Formatter):
    """One JSON object a line: ``time`` (ISO 8601, UTC), ``level``, ``logger``, ``message``, and what else the line carries."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request := REQUEST_ID.get():
            line["request_id"] = request
        line |= {name: getattr(record, name) for name in EXTRAS if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """Lines for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - as logging has it
        """Return the line without an exception; what a record of the log holds begins no line of its own."""
        return printable(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with its request's id at its end."""
        request = REQUEST_ID.get()
        return super().format(record) + (f" (request {request})" if request else "")


class _Stderr(logging.StreamHandler[TextIO]):
    """The handler of this module."""


def log_to_stderr(form: LogFormat) -> None:
    """Log in this form, for the rest of the process; handlers of others stay."""
    root, handler = logging.getLogger(), _Stderr()
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    root.setLevel(logging.INFO)
    root.handlers = [*(each for each in root.handlers if not isinstance(each, _Stderr)), handler]
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # it logs every attempt; we say once that the log is away
