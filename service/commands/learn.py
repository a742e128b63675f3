"""``sml learn``: learn from the examples of the log and publish the weights, until told to stop."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

from prometheus_client import CollectorRegistry, Gauge
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from service.commands.compile import compile_kernels
from service.commands.topics import log_with_topics
from service.metrics_server import exposed
from service.settings import Settings
from service.signals import stop_signals
from stream.event_time import TimeRule
from stream.learn.begin import Source
from stream.learn.checkpoint import Checkpoints
from stream.learn.learner import Learner
from stream.learn.metrics import LearnerMetrics
from stream.log.contract import Log
from stream.traffic import TrafficFollower


def learn(settings: Settings, *, until_caught_up: bool = False, accept_gap: bool = False) -> dict[str, Any]:
    """Learn until SIGINT or SIGTERM, until the arm is retired, or until all is learned that the log held; return the last version.

    Raises:
        FencedError: another learner has taken over.
        LearnError: the learner can't continue by itself.
        LogError: the log can't be used.
    """
    compile_kernels(settings.model.network)
    registry = CollectorRegistry()
    with stop_signals() as stop, log_with_topics(settings) as log, exposed(registry, settings, "learn"):
        times, metrics = TimeRule.of(settings.join), LearnerMetrics(registry)
        topics = settings.topics
        learner = Learner(
            log,
            topics,
            settings.spec,
            settings.learn,
            metrics,
            times=times,
            accept_gap=accept_gap,
            weights_retention=settings.log.weights_retention,
            scored=bool(settings.arms),
            begin_from=_source(settings.begin_from),
        )
        with _shown(registry, stop.is_set) as asked, _retired(log, settings, registry) as is_retired:

            def should_stop() -> bool:
                return asked() or is_retired()

            learner.run(should_stop, until_caught_up=until_caught_up)
    last = learner.last.version if learner.last else None
    return {
        "version": last and last.version,
        "digest": last and last.digest,
        "examples": last.examples if last else 0,
        "trained_through": last and last.trained_through,
        "log_loss": registry.get_sample_value("sml_learner_log_loss", {"over": "total"}),
    }


def _source(settings: Settings | None) -> Source | None:
    """Return the arm with these settings as one to begin from."""
    if settings is None:
        return None
    return Source(settings.topics, settings.spec, Checkpoints(Path(settings.learn.directory), settings.learn.keep))


@contextmanager
def _retired(log: Log, settings: Settings, registry: CollectorRegistry) -> Iterator[Callable[[], bool]]:
    """Say in the metrics which arm this is, and return whether it was retired: then its learner has nothing to do any more."""
    if not settings.arms:
        yield lambda: False
        return
    arm, end = settings.topics.arm, Event()
    Gauge("sml_learner_arm_info", "Which arm this learner's metrics are of.", ["arm"], registry=registry).labels(arm).set(1)
    follower = TrafficFollower(log, settings.topics, settings.traffic)
    thread = Thread(target=follower.run, args=(end.is_set,), name="traffic")
    thread.start()
    try:
        yield lambda: arm in follower.traffic.retired
    finally:
        end.set()
        thread.join()


@contextmanager
def _shown(registry: CollectorRegistry, should_stop: Callable[[], bool]) -> Iterator[Callable[[], bool]]:
    """Show the progress on stderr, each time that the learner asks whether to stop."""
    text = "{task.description} version {task.fields[version]:,.0f}, {task.completed:,.0f} examples, {task.fields[lag]:,.0f} to go"
    columns = (SpinnerColumn(), TextColumn(text), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("learning", total=None, version=0, lag=0)

        def ask() -> bool:
            def value(name: str) -> float:
                return registry.get_sample_value(f"sml_learner_{name}") or 0

            progress.update(task, completed=value("examples_total"), version=value("version"), lag=value("lag_records"))
            return should_stop()

        yield ask
        ask()
