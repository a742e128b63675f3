"""``sml serve``: serve predictions from the newest weights, and accept impressions and clicks; of one model, or of several."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from prometheus_client import CollectorRegistry

from service.access.guard import Access
from service.admission import access_of
from service.api.served_weights import ServedWeights
from service.api.several.front import several
from service.api.several.hosting import Opened
from service.application import application
from service.commands.compile import compile_kernels
from service.listen import listening, server_of
from service.log_and_topics import log_with_topics
from service.settings import Settings, SettingsError
from service.signals import stop_signals
from service.telemetry.tracing import tracing
from service.workers.supervisor import LOOK_EVERY, Supervisor
from stream.log.metrics import measure
from stream.weights.archive import Archive
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
    _expect_free_port(settings)
    _compile(settings)
    with stop_signals(), _opened(settings, access) as model:
        server_of(model.app, settings, model.app.state.turns).run()


def serve_several(settings: Mapping[str, Settings]) -> None:
    """Serve several models, by name, until SIGINT or SIGTERM. Where, to whom and how much is as the settings of the first say.

    Raises:
        SettingsError: as above; or two of them are the same model.
    """
    first = next(iter(settings.values()))
    access = access_of(first)
    _expect_free_port(first)
    names = dict[tuple[str, str], str]()
    for name, each in settings.items():
        if (other := names.setdefault((each.log.url, each.topics.prefix), name)) != name:
            raise SettingsError(f"--model {name}: got the log and the prefix of {other}, expected another's: [log] url or prefix")
        _compile(each)
    openings = {name: partial(_opened, each, access, name) for name, each in settings.items()}
    with stop_signals():
        app = several(openings, access)
        server_of(app, first, app.turns).run()


def serve_by_workers(settings: Settings, workers: int) -> None:
    """Serve by several processes until SIGINT or SIGTERM; then they end one after the other, so that one answers until the last has ended.

    Raises:
        LogError: the log can't be reached.
        PortTakenError: another process listens on the port.
        SettingsError: as above; or the system is not Linux, which shares memory without a name.
    """
    if not hasattr(os, "memfd_create"):
        raise SettingsError("--workers: several processes need Linux")
    if settings.serve.grpc_port is not None:
        raise SettingsError(f"serve.grpc_port: got {settings.serve.grpc_port}, expected none beside --workers")
    access_of(settings)
    _expect_free_port(settings)
    _compile(settings)
    with stop_signals() as stop:
        with log_with_topics(settings):
            pass  # what is wrong with it is told here, once
        with (
            listening("serve.port", settings.serve.host, settings.serve.port) as listener,
            Supervisor(settings, listener, workers) as processes,
        ):
            while not stop.wait(LOOK_EVERY):
                processes.look()


def _expect_free_port(settings: Settings) -> None:
    """Say that a port is taken before anything is compiled."""
    listening("serve.port", settings.serve.host, settings.serve.port).close()
    if settings.serve.grpc_port is not None:
        listening("serve.grpc_port", settings.serve.host, settings.serve.grpc_port).close()


def _compile(settings: Settings) -> None:
    for each in settings.of_every_arm():
        compile_kernels(each.model.network)


@contextmanager
def _opened(settings: Settings, access: Access, name: str | None = None) -> Iterator[Opened]:
    """Open a model's log, and make its application.

    Raises:
        LogError: the log can't be reached, or lacks a topic.
    """
    topics, registry = settings.topics, CollectorRegistry()
    metrics, archive = FollowerMetrics(registry), Archive.of(settings.archive)
    with log_with_topics(settings) as log, tracing(settings, "serve") as traces:
        measure(log, topics, registry)

        def follow(served: ServedWeights, should_stop: Callable[[], bool]) -> None:
            Follower(log, topics._replace(arm=served.arm), served, metrics, served.heartbeats, traces, archive=archive).run(should_stop)

        yield Opened(application(settings, access, log, follow, registry, name=name, tracing=traces), registry)
