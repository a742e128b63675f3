"""Trouble that lasts, such as a log that is away: whoever tries again and again says it once, not at each try."""

import logging

from stream.log.contract import RefusedError

AWAY, BACK = "the log is away, trying until it is back", "the log is back"


class Trouble:
    """What was said last of what goes wrong.

    Args:
        logger: Whose lines they are.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._said: tuple[str, type[Exception], str] | None = None

    def report(self, what: str, error: Exception) -> None:
        """Say what an error leads to, and the error, unless that was said last of its kind; of rights that are lacking each is said."""
        said, self._said = self._said, (what, type(error), str(error) if isinstance(error, RefusedError) else "")
        if self._said != said:
            self._logger.warning("%s: %s", what, error)

    def over(self, what: str = "") -> None:
        """End the trouble, if there was any; say ``what`` is well again."""
        if self._said and what:
            self._logger.warning("%s", what)
        self._said = None
