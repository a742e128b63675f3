"""``sml doctor``: report what the settings cost and whether anything would fail, before it is started. Nothing is created or changed."""

from collections.abc import Iterator
from pathlib import Path

from service.doctor import clocks, machine
from service.doctor.finding import Finding, of_arm
from service.doctor.memory import learning_time, memory_found, memory_of, waiting
from service.doctor.topics import log_found
from service.settings import Settings


def examine(settings: Settings) -> Iterator[Finding]:
    """Examine everything that `sml up` and its parts need."""
    arms = settings.of_every_arm()
    memories = {each.topics.arm: memory_of(each.spec) for each in arms}
    yield machine.settings_found(settings)
    yield machine.versions()
    yield clocks.of_machine()
    yield machine.processor()
    yield from machine.kernels(settings)
    yield from memory_found(memories)
    yield from (learning_time(each) for each in arms if settings.arms)
    yield waiting(settings.join.most_waiting)
    yield from log_found(settings)
    yield from machine.ports(settings)
    for each in arms:
        name = of_arm("checkpoints", each.topics.arm)
        yield machine.folder(name, Path(each.learn.directory), memories[each.topics.arm].learner * (settings.learn.keep + 1))
