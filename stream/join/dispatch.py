"""Make the join that the settings ask for, and pass a record of either input to the method that takes it."""

from stream.inputs.decode import event_of, observed_time
from stream.inputs.event_time import TimeRule
from stream.inputs.placement import Placement
from stream.join.matching.immediate import ImmediateJoin
from stream.join.matching.input_state import ResumePoint
from stream.join.matching.window import Join
from stream.join.rekey import with_original_append_time
from stream.log.contract import Record
from stream.log.topics import JoinerError, Topics
from stream.records.events import Click, Watermark
from stream.settings import JoinSettings


def new_join(settings: JoinSettings, impressions: ResumePoint, clicks: ResumePoint) -> Join:
    """Return the join that the settings ask for.

    Raises:
        JoinerError: the resume points were written under another policy.
    """
    policy = settings.label_policy
    if impressions.policy != policy:
        raise JoinerError(
            f"expected progress under label_policy {policy!r}, got {impressions.policy!r}: what waits would be lost, or come twice. "
            "Another policy needs another prefix"
        )
    window, lateness, skew = (round(1000 * seconds) for seconds in (settings.click_window, settings.lateness, settings.clock_skew))
    if policy == "window":
        return Join(window, lateness, impressions, clicks, learn_late=settings.late_clicks == "learn", clock_skew=skew)
    return ImmediateJoin(policy, window, lateness, impressions, clicks, clock_skew=skew)


def take(join: Join, topics: Topics, record: Record, times: TimeRule, placement: Placement | None) -> None:
    """Pass a record of either input to the join of its partition, if it belongs there and its time is possible.

    Raises:
        BadRecordError: the record can't be used.
    """
    if topics.by_id:
        record = with_original_append_time(record)
    event = event_of(record, topics)
    if placement:
        placement.check(record, event)
    if isinstance(event, str):
        join.forget(record.offset, event)
        return
    observed = observed_time(event, record, times)
    if isinstance(event, Click) or (isinstance(event, Watermark) and record.topic == topics.clicks):
        join.add_click(record, event, observed)
    else:
        join.add_impression(record, event, observed)
