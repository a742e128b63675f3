"""An outage of the log: whoever needs it tries again and again, and says once that it is away, and once that it is back."""

import logging


class Outage:
    """What was said of the log.

    Args:
        logger: Whose lines they are.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger, self._lasts = logger, False

    def begun(self, error: Exception) -> None:
        """Say that the log is away, and why, unless that was said."""
        if not self._lasts:
            self._logger.warning("the log is away, trying until it is back: %s", error)
        self._lasts = True

    def over(self) -> None:
        """Say that the log is back, if it was away."""
        if self._lasts:
            self._logger.warning("the log is back")
        self._lasts = False
