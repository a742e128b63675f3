"""``sml join``: join impressions and clicks into examples, until told to stop."""

import typer
from prometheus_client import CollectorRegistry

from service.metrics_server import exposed
from service.settings import Settings
from service.signals import stop_signals
from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.log.connect import connect
from stream.log.topics import Topics


def join(settings: Settings, *, until_caught_up: bool = False, from_now: bool = False) -> None:
    """Join until SIGINT or SIGTERM, or until all is read that the log held at the start.

    Args:
        settings: Where the log is, and how to join.
        until_caught_up: Stop after what the log held at the start.
        from_now: Skip what the log holds.

    Raises:
        FencedError: another joiner has taken over.
        JoinerError: the topics or the stored progress don't fit.
        LogError: the log can't be used.
    """
    registry = CollectorRegistry()
    with stop_signals() as stop, connect(settings.log.url, settings.log.partitioner) as log, exposed(registry, settings, "join"):
        joiner = Joiner(log, Topics(settings.log.prefix), settings.join, JoinerMetrics(registry))
        if from_now:
            typer.echo(f"left behind: {joiner.leave_behind():,} records that were not read, and what waited for its label", err=True)
        joiner.run(stop.is_set, until_caught_up=until_caught_up)
