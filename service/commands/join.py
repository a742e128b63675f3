"""``sml join``: join impressions and clicks into examples, until told to stop."""

import typer
from prometheus_client import CollectorRegistry

from service.garbage import collect_seldom
from service.log_and_topics import log_with_topics
from service.metrics_server import exposed
from service.settings import Settings
from service.signals import stop_signals
from service.telemetry.tracing import tracing
from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.join.share import Share
from stream.log.metrics import measure


def join(
    settings: Settings, *, until_caught_up: bool = False, from_now: bool = False, accept_gap: bool = False, share: Share | None = None
) -> None:
    """Join until SIGINT or SIGTERM, or until all is read that the log held at the start.

    Args:
        settings: Where the log is, and how to join.
        until_caught_up: Stop after what the log held at the start.
        from_now: Skip what the log holds.
        accept_gap: Go on where records that were needed were deleted.
        share: Join these partitions only, while others join the rest.

    Raises:
        FencedError: another joiner has taken over.
        JoinerError: the topics or the stored progress don't fit.
        LogError: the log can't be used.
    """
    registry = CollectorRegistry()
    with stop_signals() as stop, log_with_topics(settings) as log, exposed(registry, settings, "join"), tracing(settings, "join") as traces:
        measure(log, settings.topics, registry)
        joiner = Joiner(
            log,
            settings.topics,
            settings.join,
            JoinerMetrics(registry),
            inputs=settings.input,
            accept_gap=accept_gap,
            tracing=traces,
            share=share,
        )
        if from_now:
            typer.echo(f"left behind: {joiner.leave_behind():,} records that were not read, and what waited for its label", err=True)
        collect_seldom()
        joiner.run(stop.is_set, until_caught_up=until_caught_up)
