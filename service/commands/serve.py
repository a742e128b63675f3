"""``sml serve``: serve predictions from the newest weights, and accept impressions and clicks."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry

from service.admission import access_of
from service.api.app import build
from service.api.served_weights import ServedWeights
from service.commands.compile import compile_kernels
from service.commands.topics import log_with_topics
from service.listen import server_of
from service.settings import Settings
from service.signals import stop_signals
from stream.event_time import TimeRule
from stream.log.metrics import measure
from stream.log.topics import Topics
from stream.weights.follow import Follower
from stream.weights.metrics import FollowerMetrics


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        LogError: the log can't be reached.
        SettingsError: the keys can't be read, or it is not said who may do what at this address.
    """
    access = access_of(settings)
    compile_kernels(settings.model.network)
    topics, registry = Topics(settings.log.prefix), CollectorRegistry()
    metrics = FollowerMetrics(registry)
    with stop_signals(), log_with_topics(settings) as log:
        measure(log, topics, registry)

        def follow(served: ServedWeights, should_stop: Callable[[], bool]) -> None:
            Follower(log, topics, served, metrics).run(should_stop)

        app = build(log, topics, follow, registry, rule=TimeRule.of(settings.join), personal=settings.privacy.fields, access=access)
        server_of(app, settings).run()
