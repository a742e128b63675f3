"""``sml serve``: serve predictions from the newest weights, and accept impressions and clicks."""

from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry

from service.admission import access_of
from service.api.app import build
from service.api.arms import Arms
from service.api.log_watch import LogWatch
from service.api.served_weights import ServedWeights
from service.commands.compile import compile_kernels
from service.commands.topics import log_with_topics
from service.listen import listening, server_of
from service.settings import Settings
from service.signals import stop_signals
from stream.event_time import TimeRule
from stream.log.contract import Log
from stream.log.metrics import measure
from stream.traffic import TrafficFollower
from stream.weights.follow import Follower
from stream.weights.metrics import FollowerMetrics


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        LogError: the log can't be reached.
        PortTakenError: another program listens on the port.
        SettingsError: the keys can't be read, or it is not said who may do what at this address.
    """
    access = access_of(settings)
    listening("serve.port", settings.serve.host, settings.serve.port).close()  # known before anything is compiled
    for each in settings.of_every_arm():
        compile_kernels(each.model.network)
    topics, registry = settings.topics, CollectorRegistry()
    metrics = FollowerMetrics(registry)
    with stop_signals(), log_with_topics(settings) as log:
        measure(log, topics, registry)

        def follow(served: ServedWeights, should_stop: Callable[[], bool]) -> None:
            Follower(log, topics._replace(arm=served.arm), served, metrics, served.heartbeats).run(should_stop)

        app = build(
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
        )
        server_of(app, settings).run()


def _arms(settings: Settings, log: Log) -> Arms:
    """Return the arms of the settings, whose topics must exist."""
    if not settings.arms:
        return Arms()
    topics, experiment = settings.topics, settings.experiment
    for topic in (topics.arms, *(topics._replace(arm=arm).versions for arm in settings.arms)):
        log.bounds(topic)
    return Arms(tuple(settings.arms), TrafficFollower(log, topics, settings.traffic), experiment.unit, experiment.staleness)
