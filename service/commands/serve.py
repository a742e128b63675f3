"""``sml serve``: serve predictions from the newest weights, and accept impressions and clicks."""

import os
from collections.abc import Callable

from prometheus_client import CollectorRegistry

from service.admission import access_of
from service.api.served_weights import ServedWeights
from service.application import application
from service.commands.compile import compile_kernels
from service.listen import listening, server_of
from service.log_and_topics import log_with_topics
from service.settings import Settings, SettingsError
from service.signals import stop_signals
from service.workers.supervisor import Supervisor
from stream.log.metrics import measure
from stream.weights.follow import Follower
from stream.weights.metrics import FollowerMetrics


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        LogError: the log can't be reached.
        SettingsError: the keys can't be read, or it is not said who may do what at this address.
    """
    access = access_of(settings)
    _compile(settings)
    topics, registry = settings.topics, CollectorRegistry()
    metrics = FollowerMetrics(registry)
    with stop_signals(), log_with_topics(settings) as log:
        measure(log, topics, registry)

        def follow(served: ServedWeights, should_stop: Callable[[], bool]) -> None:
            Follower(log, topics._replace(arm=served.arm), served, metrics, served.heartbeats).run(should_stop)

        app = application(settings, access, log, follow, registry)
        server_of(app, settings, app.state.turns).run()


def serve_by_workers(settings: Settings, workers: int) -> None:
    """Serve by several processes until SIGINT or SIGTERM; then they end one after the other, so that one answers until the last has ended.

    Raises:
        LogError: the log can't be reached.
        PortTakenError: another process listens on the port.
        SettingsError: as above; or the system is not Linux, which shares memory without a name.
    """
    if not hasattr(os, "memfd_create"):
        raise SettingsError("--workers: several processes need Linux")
    access_of(settings)
    _compile(settings)
    with stop_signals() as stop:
        with log_with_topics(settings):
            pass  # what is wrong with it is told here, once
        with (
            listening(settings.serve.host, settings.serve.port, "serve.port") as listener,
            Supervisor(settings, listener, workers) as processes,
        ):
            while not stop.wait(processes.look()):
                pass


def _compile(settings: Settings) -> None:
    for each in settings.of_every_arm():
        compile_kernels(each.model.network)
