"""From the settings to the application that ``sml serve`` runs, in one process or in several."""

from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from service.access.guard import Access
from service.api.app import build
from service.api.arms import Arms
from service.api.monitoring.log_watch import LogWatch
from service.api.served_weights import Follow
from service.settings import Settings
from stream.inputs.event_time import TimeRule
from stream.log.contract import Log
from stream.traces import Tracing
from stream.traffic import TrafficFollower


def application(
    settings: Settings,
    access: Access,
    log: Log,
    follow: Follow,
    registry: CollectorRegistry,
    *,
    first: Callable[[], None] | None = None,
    exported: Collector | None = None,
    name: str | None = None,
    tracing: Tracing | None = None,
) -> FastAPI:
    """Return the application; the arguments by name are those of :func:`~service.api.app.build`.

    Raises:
        LogError: a topic of an arm is missing, or the log can't be reached.
    """
    topics = settings.topics
    return build(
        log,
        topics,
        follow,
        registry,
        rule=TimeRule.of(settings.join),
        personal=settings.privacy.fields,
        access=access,
        arms=_arms(settings, log),
        explore=settings.serve.explore,
        epsilon=settings.serve.epsilon,
        watch=LogWatch(log, topics._replace(by_id=settings.join.rekey)),
        reports=Path(settings.experiment.directory),
        first=first,
        exported=exported,
        name=name,
        tracing=tracing,
    )


def traffic_of(settings: Settings, log: Log) -> TrafficFollower | None:
    """Return what follows the decisions about arms; None where there are none."""
    return TrafficFollower(log, settings.topics, settings.traffic) if settings.arms else None


def _arms(settings: Settings, log: Log) -> Arms:
    """Return the arms of the settings, whose topics must exist."""
    if not settings.arms:
        return Arms()
    topics, experiment = settings.topics, settings.experiment
    for topic in (topics.arms, *(topics._replace(arm=arm).versions for arm in settings.arms)):
        log.bounds(topic)
    return Arms(tuple(settings.arms), traffic_of(settings, log), experiment.unit, experiment.staleness)
