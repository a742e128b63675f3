"""The settings of arms: several models that learn from one log, each with settings of its own, and the experiment that compares them.

``[arms.NAME]`` holds what differs from ``[model]``, ``[table]`` and ``[join] label_policy``. The arm named ``control`` has the topics and
the checkpoints of a model without arms: who adds another arm goes on with what was learned.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field as Setting

from model.settings import ModelSettings, TableSettings
from stream.arms import NAME, POINTS
from stream.log.settings import Duration, Port, Section
from stream.log.topics import CONTROL
from stream.settings import JoinSettings

_POLICIES = {"window": {"window"}, "fnw": {"fnw", "fnc"}, "fnc": {"fnc"}}  # by the joiner's: what its examples can be learned under


def _check_name(name: str) -> str:
    if re.fullmatch(NAME, name):
        return name
    raise ValueError("a name of up to 40 small letters, digits, - and _, a letter or a digit first")


Name = Annotated[str, AfterValidator(_check_name)]


class ExperimentSettings(Section):
    """The experiment that splits the traffic between arms, until `sml arms` says otherwise."""

    name: Name = "first"
    """what the split is salted with: experiments of different names are independent"""
    unit: Annotated[str, Setting(min_length=1)] | None = None
    """the feature in a request's context that decides the arm: user_id; a request without it is answered by control"""
    staleness: Duration = 60.0
    """weights older than this, which have not learned what control has, answer nobody: control does"""
    guard_rail: Annotated[float, Setting(ge=0)] = 0.1
    """an arm that is surely worse than control by more than this share, in click rate or log loss, gives its units back to control"""
    directory: str = "data/experiments"
    """where `sml experiment report` keeps its sums, and its newest report for GET /v1/experiments"""


class ArmJoinSettings(Section):
    """What of ``[join]`` an arm may have of its own."""

    label_policy: Literal["window", "fnw", "fnc"] = "window"


class ArmSettings(Section):
    """One of several models; what it does not say is as in ``[model]``, ``[table]`` and ``[join]``."""

    share: Annotated[float, Setting(ge=0, le=1)] | None = None
    """of the units; 0: a shadow, which learns and serves nobody"""
    learn_from: Literal["all", "own"] = "all"
    """all: every example; own: those that it served itself, and nobody forced"""
    begin_from: Name | None = None
    """the arm whose newest weights it begins with, as far as they fit; default: none, it learns all that the log still holds"""
    metrics_port: Port | None = None
    """the port of this learner's /metrics; default: control has learn.metrics_port, each further arm that of the one before + 10"""
    model: ModelSettings = ModelSettings()
    table: TableSettings = TableSettings()
    join: ArmJoinSettings = ArmJoinSettings()


def inherit(data: dict[str, Any]) -> dict[str, Any]:
    """Return the settings as they were read, with each arm's completed by those that it shares with the others."""
    arms = data.get("arms")
    if not isinstance(arms, Mapping):
        return data
    shared = {name: _as_read(data.get(name)) for name in ("model", "table", "join")}
    shared["join"] = {key: value for key, value in shared["join"].items() if key == "label_policy"}
    return data | {"arms": {name: _completed(arm, shared) for name, arm in arms.items()}}


def _completed(arm: Any, shared: dict[str, dict[str, Any]]) -> Any:
    if not isinstance(arm, Mapping):
        return arm
    own = {name: arm.get(name, {}) for name in shared}
    return {**arm, **{name: {**shared[name], **value} if isinstance(value, Mapping) else value for name, value in own.items()}}


def _as_read(section: Any) -> dict[str, Any]:
    """Return a table as it stood in the file, or the settings that were given to a table made by a program."""
    if isinstance(section, Section | ModelSettings | TableSettings):
        return section.model_dump(exclude_unset=True)
    return dict(section) if isinstance(section, Mapping) else {}


def check(arms: Mapping[str, ArmSettings], experiment: ExperimentSettings, join: JoinSettings) -> None:
    """Check that the arms fit each other and the joiner.

    Raises:
        ValueError: they don't; the message names the setting.
    """
    if not arms:
        return
    if CONTROL not in arms:
        raise ValueError(f"arms: got {', '.join(arms)}, expected one of them to be named {CONTROL}")
    shares = shares_of(arms)
    if sum(round(share * POINTS) for share in shares.values()) != POINTS:
        raise ValueError(f"arms: got shares that sum to {sum(shares.values()):.9g}, expected 1: {_listed(shares)}")
    if experiment.unit is None and shares[CONTROL] != 1:
        raise ValueError("experiment.unit: got nothing, expected the feature that decides the arm, such as user_id")
    allowed = _POLICIES[join.label_policy]
    for name, arm in arms.items():
        if arm.begin_from is not None and arm.begin_from not in arms.keys() - {name}:
            others = " or ".join(other for other in arms if other != name)
            raise ValueError(f"arms.{name}.begin_from: got {arm.begin_from!r}, expected {others or 'none: there is no other arm'}")
        if arm.join.label_policy not in allowed:
            raise ValueError(
                f"arms.{name}.join.label_policy: got {arm.join.label_policy!r}, expected {' or '.join(sorted(allowed))}, "
                f"for the examples are joined under {join.label_policy}"
            )


def shares_of(arms: Mapping[str, ArmSettings]) -> dict[str, float]:
    """Return the share of each arm; control has all where none is given."""
    if all(arm.share is None for arm in arms.values()):
        return {name: float(name == CONTROL) for name in arms}
    return {name: arm.share or 0.0 for name, arm in arms.items()}


def _listed(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:g}" for name, share in shares.items())
