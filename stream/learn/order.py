"""A person's orders about what is learned so far: approve versions that the guard holds, or hold them whatever the guard says.

The protocol is that of a rollback: an order takes the model, publishes exactly one version, which has no runs, and lets go of the model.
"""

import time
from contextlib import closing
from typing import Any, Literal

import msgspec

from stream.events import encode
from stream.learn.errors import LearnError
from stream.log.contract import Log, Message
from stream.log.topics import Topics
from stream.version import Version, last_forgetting
from stream.weights.versions import newest_version


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
