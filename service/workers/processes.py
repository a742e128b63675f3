"""What runs in a worker and in the follower of ``sml serve --workers``; each is a process of its own."""

import logging
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path
from threading import Event, Thread
from typing import Literal, cast

import uvicorn
from prometheus_client import CollectorRegistry

from model.settings import TableSettings
from model.weights import Weights
from service.admission import access_of
from service.api.served_weights import load_kernels
from service.application import application, traffic_of
from service.listen import server_of
from service.log_and_topics import log_with_topics
from service.settings import Settings
from service.signals import stop_signals
from service.telemetry.log_lines import LOG_FORMAT, log_to_stderr
from service.telemetry.tracing import tracing
from service.workers.totals import AllProcesses, reporting
from stream.log.metrics import measure
from stream.log.topics import CONTROL
from stream.weights.archive import Archive
from stream.weights.follow import Follower
from stream.weights.metrics import FollowerMetrics
from stream.weights.shared import Offer, SharedFollower, joining

logger = logging.getLogger(__name__)

TELL_EVERY = 0.25  # seconds from one look at what workers have to be told to the next
FIRST_TIMEOUT = 30.0  # seconds that a worker waits for the weights before it takes requests


def work(settings: Settings, listener: socket.socket, offers: Path, totals: Path) -> None:
    """Answer requests that come in at ``listener``, from the weights that are offered at ``offers``, until SIGTERM."""
    registry, follow = CollectorRegistry(), SharedFollower(offers)
    with _process() as stop, log_with_topics(settings) as log, reporting(registry, totals), tracing(settings, "serve") as traces:
        arms = settings.of_every_arm()
        for each in arms:  # here it holds up nobody, while the follower waits for whoever takes weights
            load_kernels(Weights(each.spec.model_copy(update={"table": TableSettings(capacity=8)})))

        def know_weights() -> None:
            for _ in arms:
                follow.told.acquire(timeout=FIRST_TIMEOUT)

        app = application(
            settings,
            access_of(settings),
            log,
            follow,
            registry,
            first=know_weights,
            exported=AllProcesses(registry, totals),
            tracing=traces,
        )
        server = server_of(app, settings, app.state.turns)
        Thread(target=_end_by, args=(server, stop), daemon=True).start()
        server.run(sockets=[listener])


def follow(settings: Settings, listener: socket.socket, totals: Path) -> None:
    """Follow the weights of every arm, and offer them to the workers that connect to ``listener``, until SIGTERM."""
    registry, topics = CollectorRegistry(), settings.topics
    metrics, archive = FollowerMetrics(registry), Archive.of(settings.archive)
    offers = {arm: Offer() for arm in settings.arms or (CONTROL,)}
    with (
        _process() as stop,
        log_with_topics(settings) as log,
        reporting(registry, totals),
        tracing(settings, "serve") as traces,
        ExitStack() as threads,
    ):
        measure(log, topics, registry)
        traffic = traffic_of(settings, log)

        def should_stop(arm: str) -> bool:
            return stop.is_set() or (traffic is not None and arm in traffic.traffic.retired)

        def follow_arm(arm: str, offer: Offer) -> None:
            own = topics._replace(arm=arm)
            Follower(log, own, offer, metrics, offer.heartbeats, traces, offer.memory, archive).run(partial(should_stop, arm))
            offer.end()

        for each in offers.items():
            threads.callback(_started(partial(follow_arm, *each), stop).join)
        if traffic:
            threads.callback(_started(partial(traffic.run, stop.is_set), stop).join)
        _tell_workers(listener, offers, stop)


def _tell_workers(listener: socket.socket, offers: Mapping[str, Offer], stop: Event) -> None:
    """Let workers that connect join the offer of the arm that they name, and tell all how things stand, until the event is set."""
    listener.settimeout(TELL_EVERY)
    while not stop.is_set():
        with suppress(OSError, KeyError):  # nobody came, or who came has gone
            worker = listener.accept()[0]
            offers[joining(worker)].join(worker)
        for offer in offers.values():
            offer.tell()


def _end_by(server: uvicorn.Server, stop: Event) -> None:
    """End a server that is asked to before it listens to signals itself."""
    stop.wait()
    server.should_exit = True


def _started(run: partial[None], stop: Event) -> Thread:
    """Run something in a thread; if it fails, the process ends, and is started again."""

    def guarded() -> None:
        try:
            run()
        except Exception:
            logger.exception("The follower ends: the weights stay as they are until it is started again")
            stop.set()

    thread = Thread(target=guarded, name="follower")
    thread.start()
    return thread


@contextmanager
def _process() -> Iterator[Event]:
    """Begin a process of the supervisor's: it ends by SIGTERM, which sets the event, or once the supervisor is gone."""
    os.setpgrp()  # Ctrl-C reaches only the supervisor, which ends them one by one
    log_to_stderr(cast("Literal['text', 'json']", os.environ.get(LOG_FORMAT, "text")))
    if parent := parent_process():
        Thread(target=_end_with, args=(parent.sentinel,), name="lifeline", daemon=True).start()
    with stop_signals() as stop:
        yield stop


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
