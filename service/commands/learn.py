"""``sml learn``: learn from the examples of the log and publish the weights, until told to stop."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from functools import partial
from threading import Event, Thread
from typing import Any

from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from service.commands.compile import compile_kernels
from service.garbage import collect_seldom
from service.log_and_topics import log_with_topics
from service.metrics_server import exposed
from service.settings import Settings
from service.signals import stop_signals
from service.telemetry.tracing import tracing
from stream.inputs.event_time import TimeRule
from stream.learn.examples.shared import SharedReading
from stream.learn.learner import Learner
from stream.learn.metrics import LearnerMetrics, tell_arm
from stream.learn.restore.begin import Source
from stream.learn.saving.checkpoint import Checkpoints
from stream.learn.session import LearningRanks
from stream.log.contract import Log
from stream.log.topics import CONTROL
from stream.traffic import TrafficFollower
from stream.weights.archive import Archive

_SHOW_EVERY = 0.1  # seconds; rich draws ten times a second


def learn(settings: Settings, *, ranks: int = 1, until_caught_up: bool = False, accept_gap: bool = False) -> dict[str, Any]:
    """Learn until SIGINT or SIGTERM, until the arm is retired, or until all is learned that the log held; return the last version.

    With several ``ranks``, processes of this one learn with it. Under torchrun, all that it has started do, on whichever machines.

    Raises:
        FencedError: another learner has taken over.
        LearnError: the learner can't continue by itself.
        LogError: the log can't be used.
    """
    compile_kernels(settings.model.network)
    if int(os.environ.get("RANK", "0")) > 0:
        from stream.learn.ranks.groups import assist_torchrun

        assist_torchrun()
        return {}
    with stop_signals() as stop, log_with_topics(settings) as log, _progress() as progress, _leading(ranks) as leader:
        run = partial(_learn, log, settings, stop.is_set, progress, None, leader)
        return run(until_caught_up=until_caught_up, accept_gap=accept_gap)


@contextmanager
def _leading(ranks: int) -> Iterator[LearningRanks | None]:
    """Yield who learns with this process, if anybody does: what torchrun has started, or ``ranks`` processes of this machine."""
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if max(ranks, started) == 1:
        yield None
        return
    from stream.learn.ranks.groups import Processes, torchrun
    from stream.learn.ranks.leader import Leader

    with closing(Leader(started, torchrun()) if started > 1 else Leader(ranks, partial(Processes, ranks))) as leader:
        yield leader


def learn_together(arms: Sequence[Settings], *, until_caught_up: bool = False, accept_gap: bool = False) -> list[dict[str, Any]]:
    """Learn several arms on one reading of the examples, as :func:`learn` does each; where one can't continue, all end in order.

    Raises:
        FencedError: another learner has taken over one of them.
        LearnError: one of them can't continue by itself.
        LogError: the log can't be used.
    """
    for network in dict.fromkeys(each.model.network for each in arms):
        compile_kernels(network)
    with (
        stop_signals() as stop,
        log_with_topics(arms[0]) as log,
        _progress() as progress,
        closing(SharedReading(log, arms[0].topics.examples)) as shared,
        ThreadPoolExecutor(len(arms), "learn") as pool,
    ):
        run = partial(_learn, log, until_caught_up=until_caught_up, accept_gap=accept_gap)
        learning = [pool.submit(run, each, stop.is_set, progress, shared, None) for each in arms]
        wait(learning, return_when=FIRST_EXCEPTION)
        if any(each.done() and each.exception() for each in learning):
            stop.set()
    return [{"arm": each.topics.arm, **result.result()} for each, result in zip(arms, learning, strict=True)]


def _learn(
    log: Log,
    settings: Settings,
    asked: Callable[[], bool],
    progress: Progress,
    shared: SharedReading | None,
    ranks: LearningRanks | None,
    *,
    until_caught_up: bool,
    accept_gap: bool,
) -> dict[str, Any]:
    """Learn one arm, and return its last version."""
    registry = CollectorRegistry()
    with exposed(registry, settings, "learn"), _retired(log, settings, registry) as is_retired, tracing(settings, "learn") as traces:
        learner = Learner(
            log,
            settings.topics,
            settings.spec,
            settings.learn,
            LearnerMetrics(registry),
            times=TimeRule.of(settings.join),
            accept_gap=accept_gap,
            weights_retention=settings.log.weights_retention,
            scored=bool(settings.arms),
            begin_from=_source(settings.begin_from),
            shared=shared,
            tracing=traces,
            ranks=ranks,
            archive=Archive.of(settings.archive),
        )
        with _shown(progress, settings.topics.arm, registry) as show:

            def should_stop() -> bool:
                show()
                return asked() or is_retired()

            collect_seldom()
            learner.run(should_stop, until_caught_up=until_caught_up)
    return _figures(learner, registry)


def _figures(learner: Learner, registry: CollectorRegistry) -> dict[str, Any]:
    """Return the learner's last version, and the log loss of all that it has learned."""
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
    return Source(settings.topics, settings.spec, Checkpoints.of(settings.learn))


@contextmanager
def _retired(log: Log, settings: Settings, registry: CollectorRegistry) -> Iterator[Callable[[], bool]]:
    """Say in the metrics which arm this is, and return whether it was retired: then its learner has nothing to do any more."""
    if not settings.arms:
        yield lambda: False
        return
    arm, end = settings.topics.arm, Event()
    tell_arm(registry, arm)
    follower = TrafficFollower(log, settings.topics, settings.traffic)
    thread = Thread(target=follower.run, args=(end.is_set,), name="traffic")
    thread.start()
    try:
        yield lambda: arm in follower.traffic.retired
    finally:
        end.set()
        thread.join()


def _progress() -> Progress:
    """Return what shows the progress on stderr."""
    text = "{task.description} version {task.fields[version]:,.0f}, {task.completed:,.0f} examples, {task.fields[lag]:,.0f} to go"
    return Progress(SpinnerColumn(), TextColumn(text), TimeElapsedColumn(), console=Console(stderr=True))


@contextmanager
def _shown(progress: Progress, arm: str, registry: CollectorRegistry) -> Iterator[Callable[[], None]]:
    """Show the progress of one arm, when what is returned is called, as often as it is drawn, and at the end."""
    task = progress.add_task("learning" if arm == CONTROL else f"learning {arm}", total=None, version=0, lag=0)
    metrics = registry.restricted_registry(("sml_learner_examples_total", "sml_learner_version", "sml_learner_lag_records"))
    due = 0.0

    def show(*, at_once: bool = False) -> None:
        nonlocal due
        now = time.monotonic()
        if now < due and not at_once:
            return
        due = now + _SHOW_EVERY
        value = {sample.name.removeprefix("sml_learner_"): sample.value for metric in metrics.collect() for sample in metric.samples}
        progress.update(task, completed=value["examples_total"], version=value["version"], lag=value["lag_records"])

    yield show
    show(at_once=True)
