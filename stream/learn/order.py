"""A person's orders about what is learned so far: approve versions that the guard holds, or hold them whatever the guard says.

The protocol is that of a rollback: an order takes the model, publishes exactly one version, which has no runs, and lets go of the model.
The learner that it has fenced knows it by that, and takes the model again.
"""

import time
from collections.abc import Callable
from contextlib import closing
from typing import Any, Literal

import msgspec

from stream.learn.errors import LearnError
from stream.log.contract import Log, Message
from stream.log.reading import sleep_unless
from stream.log.topics import Topics
from stream.records.events import encode
from stream.records.version import Version, last_forgetting
from stream.weights.versions import Published, newest_version, read_versions

DONE = {"approve": "approved", "hold": "held"}  # order → what is done by it

_PATIENCE = 5.0  # seconds that an order may take from owning the model to publishing its version
_POLL = 0.05  # seconds from one look for that version to the next


class OrderError(LearnError):
    """There is nothing that the order is about."""


def give_order(log: Log, topics: Topics, order: Literal["approve", "hold"], by: str) -> Version:
    """Publish an order as the next version; the learner carries it out at once, or when it starts.

    Args:
        log: The log.
        topics: The model's topics.
        order: ``approve``: publish what is held, and judge by it from now on. ``hold``: publish nothing until it is approved.
        by: Who gives it; the version's record says so.

    Raises:
        OrderError: nothing was learned yet, or there is nothing to approve.
        FencedError: a learner has taken the model meanwhile; nothing was published.
        LogError: the log can't be used.
    """
    with closing(log.writer(topics.learner)) as writer:
        newest = newest_version(log, topics)
        if newest is None:
            raise OrderError(f"{topics.versions} holds no version: nothing was learned yet")
        last = newest.version
        if order == "approve" and not last.held:
            raise OrderError(f"version {last.version} is not held: there is nothing to approve")
        held = last.held if order == "approve" else last.held | {"person": f"held by {by}"}
        changes = {"version": last.version + 1, "published_at": int(time.time() * 1000), "held": held, "order": order, "by": by}
        nothing: dict[str, Any] = {
            "runs": [],
            "excluded": [],
            "forgotten": [],
            "rollback": None,
            "spec": None,
            "left_out": 0,
            "forgot_before": last_forgetting(last),
        }
        version = msgspec.structs.replace(last, **changes, **nothing)
        writer.commit([Message(topics.versions, None, encode(version), partition=0)], {})
        return version


def was_ordered(log: Log, topics: Topics, last: Published | None, should_stop: Callable[[], bool]) -> str | None:
    """Return what a person has done to the model, who took it for that; None if another learner has taken it.

    If another version follows the one that is published, another learner has taken the model since; if none comes in time,
    it was no such thing.

    Args:
        log: The log.
        topics: The model's topics.
        last: The last version before the model was taken; None: there is none.
        should_stop: Returns whether to wait no longer.
    """
    start = last.offset + 1 if last else log.bounds(topics.versions)[0].first
    deadline = time.monotonic() + _PATIENCE
    while True:
        published = list(read_versions(log, topics, start))
        if published or time.monotonic() > deadline or should_stop():
            return _done(published[0].version) if len(published) == 1 else None
        sleep_unless(should_stop, _POLL)


def _done(version: Version) -> str | None:
    """Return what a person has done by this version."""
    if version.rollback:
        return "rolled back"
    return DONE[version.order] if version.order else None
