"""``sml learn``: learn from the examples of the log and publish the weights, until told to stop."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from service.commands.compile import compile_kernels
from service.commands.topics import log_with_topics
from service.metrics_server import exposed
from service.settings import Settings
from service.signals import stop_signals
from stream.event_time import TimeRule
from stream.learn.learner import Learner
from stream.learn.metrics import LearnerMetrics
from stream.log.topics import Topics


def learn(settings: Settings, *, until_caught_up: bool = False, accept_gap: bool = False) -> dict[str, Any]:
    """Learn until SIGINT or SIGTERM, or until all is learned that the log held; publish, save, and return the last version.

    Raises:
        FencedError: another learner has taken over.
        LearnError: the learner can't continue by itself.
        LogError: the log can't be used.
    """
    compile_kernels(settings.model.network)
    registry = CollectorRegistry()
    with stop_signals() as stop, log_with_topics(settings) as log, exposed(registry, settings, "learn"):
        times, metrics = TimeRule.of(settings.join), LearnerMetrics(registry)
        topics = Topics(settings.log.prefix)
        learner = Learner(
            log,
            topics,
            settings.spec,
            settings.learn,
            metrics,
            times=times,
            accept_gap=accept_gap,
            weights_retention=settings.log.weights_retention,
        )
        with _shown(registry, stop.is_set) as should_stop:
            learner.run(should_stop, until_caught_up=until_caught_up)
    last = learner.last.version if learner.last else None
    return {
        "version": last and last.version,
        "digest": last and last.digest,
        "examples": last.examples if last else 0,
        "trained_through": last and last.trained_through,
        "log_loss": registry.get_sample_value("sml_learner_log_loss", {"over": "total"}),
    }


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
