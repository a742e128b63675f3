"""What the joiner needs and the log holds no longer, because the joiner was away for longer than records are kept.

Records that were joined and only tell duplicates from others may go. Those that were not joined, or that came while an impression waits
for its label, are never passed over in silence.
"""

import logging

import msgspec

from stream.join.matching.input_state import ResumePoint
from stream.log.contract import Bounds
from stream.log.topics import JoinerError
from stream.settings import JoinSettings

logger = logging.getLogger(__name__)


def find_gap(where: str, offset: int, point: ResumePoint, bounds: Bounds) -> str | None:
    """Return what was deleted although it was needed, if anything was."""
    if offset < bounds.first:
        return f"{where}: records {offset} to {bounds.first - 1} were deleted before they were joined"
    if point.rewind < bounds.first and point.waiting:
        return f"{where}: records {point.rewind} to {bounds.first - 1} were deleted while impressions were waiting for their labels"
    return None


def without_what_is_gone(point: ResumePoint, bounds: Bounds, settings: JoinSettings) -> ResumePoint:
    """Return a resume point that the log still holds. Event time is where the impressions that are decided say that it was at least."""
    if point.rewind >= bounds.first:
        return point
    decided = point.cursor[0]
    reached = decided + round(1000 * (settings.click_window + settings.lateness)) if decided >= 0 else -1
    return msgspec.structs.replace(point, rewind=bounds.first, seen=max(point.seen, reached))


def report_gap(gap: str, *, accept_gap: bool) -> None:
    """Log that records are gone, where that is accepted.

    Raises:
        JoinerError: it is not accepted.
    """
    if not accept_gap:
        raise JoinerError(f"{gap}; `sml join --accept-gap --until-caught-up`, once, goes on without them")
    logger.warning("%s: going on without them", gap)
