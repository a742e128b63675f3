"""The contenders by name: what each is, and whether chance has a part in it.

None was tuned on what is scored but LightGBM, the network and the forest, whose settings are the best of a few that were tried on the
samples of Avazu and Criteo.
"""

import tomllib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from benchmarks.accuracy import linear, network, online, trees
from benchmarks.accuracy.recorded import Floats, Ints, RecordedLog

OURS, BASE_RATE = "SML", "the click rate so far"
FOREST_ROWS = 2_000


class Contender(NamedTuple):
    """Something that predicts and learns."""

    prepare: Callable[[RecordedLog, Ints, Sequence[int]], Callable[[], Floats]]
    """from a log, its schedule and seeds to the run, which alone is timed, and returns predictions ``(S, N)``"""
    by_chance: bool = False
    """whether it has a seed"""


CONTENDERS = {
    OURS: Contender(partial(online.sml, {}), by_chance=True),
    BASE_RATE: Contender(online.base_rate),
    "Vowpal Wabbit": Contender(partial(linear.vowpal_wabbit, "")),
    "Vowpal Wabbit, -q ::": Contender(partial(linear.vowpal_wabbit, "-q ::")),
    "Vowpal Wabbit, --ftrl": Contender(partial(linear.vowpal_wabbit, "--ftrl")),
    "River, logistic regression": Contender(partial(linear.river, linear.adagrad)),
    "River, FTRL-proximal": Contender(partial(linear.river, linear.ftrl)),
    f"River, forest, {FOREST_ROWS:,} rows": Contender(partial(trees.forest, FOREST_ROWS), by_chance=True),
    "PyTorch, 32 a step": Contender(network.deep_network, by_chance=True),
    "LightGBM, retrained": Contender(trees.lightgbm, by_chance=True),
}
LINEAR = [name for name in CONTENDERS if name.startswith(("Vowpal", "River, logistic", "River, FTRL"))]


def changed(text: str) -> tuple[str, Contender]:
    """Return SML with other settings of its model.

    >>> changed('network = "dcn_v2"')[0]
    'SML, network = "dcn_v2"'
    """
    changes: dict[str, Any] = tomllib.loads(text)
    return f"{OURS}, {text}", Contender(partial(online.sml, changes), by_chance=True)
