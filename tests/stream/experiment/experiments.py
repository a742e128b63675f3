"""An experiment on a log: made-up units, what each is shown by its arm, and what its clicks are worth."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from model.encoding.keys import key_of
from model.settings import Field
from stream.experiment.plan import Plan
from stream.experiment.reporter import Reporter
from stream.experiment.sums import Sums
from stream.log.contract import Log, Message
from stream.log.topics import Topics
from stream.records.events import Example, Served, encode

TOPICS, USER = Topics("sml"), Field(name="user_id")
BEGINS = 1_700_000_000_000
ARMS = ("control", "treatment")


def unit_of(user: str) -> str:
    return f"{key_of(USER, user):016x}"


def arm_of(unit: str) -> str:
    return ARMS[int(unit, 16) % 2]


PLAN = Plan("exp", "control", {"control": 0.5, "treatment": 0.5}, arm_of)


def shown(number: int, user: str, *, clicked: bool = False, value: float | None = None, **served: object) -> Example:
    """Return an example of the experiment: of its unit's own arm, unless ``served`` says otherwise."""
    told = {"version": 1, "probability": 0.25, "experiment": "exp", "unit": unit_of(user), "arm": arm_of(unit_of(user)), "propensity": 0.5}
    features = {"user_id": user}
    time = BEGINS + 1_000 * number
    return Example(f"i{number}", time, features, int(clicked), value=value, served=Served(**(told | served)))  # type: ignore[arg-type]


def before(number: int, user: str, *, clicked: bool = False) -> Example:
    """Return an example from before there were arms."""
    return Example(f"b{number}", BEGINS - 1_000_000 + number, {"user_id": user}, int(clicked))  # type: ignore[arg-type]


def traffic(count: int, users: int = 400, seed: int = 0) -> list[Example]:
    """Make up the examples of an experiment, and as many from before."""
    random = np.random.default_rng(seed)
    names = [f"u{n}" for n in random.integers(users, size=2 * count)]
    chance = {name: 0.1 + 0.3 * random.random() for name in sorted(set(names))}
    clicked = [bool(random.random() < chance[name]) for name in names]
    early = [before(n, names[n], clicked=clicked[n]) for n in range(count)]
    late = [
        shown(n, names[n], clicked=clicked[n], value=float(n % 7) if clicked[n] else None, probability=0.05 + 0.4 * random.random())
        for n in range(count, 2 * count)
    ]
    return early + late


def append(log: Log, examples: Iterable[Example], partitions: int = 1) -> None:
    log.append([Message(TOPICS.examples, None, encode(each), partition=n % partitions) for n, each in enumerate(examples)])


def count_all(log: Log, path: Path, plan: Plan = PLAN, *, at_once: bool = False, retention: float = 0.0) -> Sums:
    """Count all that the log holds; return the sums, which are to be closed."""
    sums = Sums(path)
    Reporter(log, TOPICS, sums, lambda: plan, unit=USER, at_once=at_once, retention=retention).run(lambda: False, until_caught_up=True)
    return sums
