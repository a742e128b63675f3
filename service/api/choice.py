"""Which candidates of a request are chosen to be shown, and of which ones impressions are logged.

A propensity is the chance with which a candidate is among the k that are chosen, and it is exact.

- ``epsilon``: the k most probable candidates; with the chance epsilon, k of the n at random instead. So it is
  (1 - epsilon) · [one of the k most probable] + epsilon · k / n.
- ``thompson``: as often as it may be one of the k best. These chances are computed first (:func:`model.exploration.chances`), and then
  k candidates are drawn by them, systematically: Madow, "On the Theory of Systematic Sampling, II", 1949.
"""

import math
import random
from collections.abc import Sequence
from heapq import nlargest
from itertools import accumulate
from typing import Literal, NamedTuple, TypeAlias

from model.exploration import chances
from service.api.answers import BadRequestError
from service.api.messages import PredictRequest, Top

Explore: TypeAlias = Literal["none", "epsilon", "thompson"]

_LEAST = 1e-12  # of a probability, and of what is left to 1: fnc serves 1 itself


class Pick(NamedTuple):
    """A candidate that is to be shown."""

    candidate: int  # its index
    propensity: float  # the chance with which it was chosen


def epsilon_greedy(probabilities: Sequence[float], count: int, epsilon: float, chance: random.Random) -> list[Pick]:
    """Choose ``count`` candidates, or all if there are fewer, in the order in which to show them."""
    total = len(probabilities)
    count = min(count, total)
    best = _best(probabilities, count)
    explores = chance.random() < epsilon
    of_best = set(best)
    return [
        Pick(index, min(1.0, (1 - epsilon) * (index in of_best) + epsilon * count / total))
        for index in (chance.sample(range(total), count) if explores else best)
    ]


def thompson(probabilities: Sequence[float], spreads: Sequence[float], count: int, chance: random.Random) -> list[Pick]:
    """Choose ``count`` candidates, or all if there are fewer, in the order in which to show them.

    Args:
        probabilities: Of a click on each candidate.
        spreads: How uncertain the logit of each is, its standard deviation.
        count: How many to choose.
        chance: What draws.
    """
    logits = [_logit(each) for each in probabilities]
    propensities = chances(logits, spreads, count).tolist()
    drawn = {index: chance.gauss(logits[index], spreads[index]) for index in _systematic(propensities, chance)}
    return [Pick(index, propensities[index]) for index in sorted(drawn, key=drawn.__getitem__, reverse=True)]


def logged(request: PredictRequest, probabilities: Sequence[float], chosen: Sequence[Pick]) -> list[int]:
    """Return the candidates whose impressions are to be logged, by their index.

    Raises:
        BadRequestError: ``log`` names a candidate that is not there, or the chosen where nothing is chosen.
    """
    if isinstance(request.log, bool):
        return list(range(len(probabilities))) if request.log else []
    if isinstance(request.log, Top):
        return sorted(_best(probabilities, request.log.top))
    if request.log == "chosen":
        if request.choose is None:
            raise BadRequestError("log", "got 'chosen', expected choose, which says how many")
        return [each.candidate for each in chosen]
    ids = [(type(candidate["id"]), candidate["id"]) for candidate in request.candidates]
    wanted = dict.fromkeys((type(each), each) for each in request.log)
    if missing := wanted.keys() - ids:
        index = next(index for index, each in enumerate(request.log) if (type(each), each) in missing)
        raise BadRequestError(f"log[{index}]", f"got {request.log[index]!r}, expected the id of a candidate")
    return [index for index, each in enumerate(ids) if each in wanted]


def _best(probabilities: Sequence[float], count: int) -> list[int]:
    """Return the ``count`` most probable candidates, the best first; of equal ones the one that was named first."""
    return nlargest(count, range(len(probabilities)), key=probabilities.__getitem__)


def _systematic(propensities: Sequence[float], chance: random.Random) -> list[int]:
    """Draw as many as the propensities sum to, each with its own: those in whose part of their sum, in random order, a mark lies.

    The marks are 1 apart, the first is drawn; no part is longer than 1, so none is drawn twice.
    """
    order = chance.sample(range(len(propensities)), len(propensities))
    ends = list(accumulate((propensities[index] for index in order), initial=chance.random()))
    ends[-1] = ends[0] + round(ends[-1] - ends[0])  # what rounding has left
    return [index for index, start, end in zip(order, ends, ends[1:], strict=False) if math.floor(end) > math.floor(start)]


def _logit(probability: float) -> float:
    return math.log(max(probability, _LEAST) / max(1 - probability, _LEAST))
