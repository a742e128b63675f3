"""Which candidates of a request are chosen to be shown, and of which ones impressions are logged.

A choice is the k most probable candidates; with the chance epsilon, k of the n at random instead. So a candidate is among them with the
propensity (1 - epsilon) · [it is one of the k most probable] + epsilon · k / n, which is exact.
"""

import random
from collections.abc import Sequence
from heapq import nlargest
from typing import NamedTuple

from service.api.answers import BadRequestError
from service.api.messages import PredictRequest, Top


class Pick(NamedTuple):
    """A candidate that is to be shown."""

    candidate: int  # its index
    propensity: float  # the chance with which it was chosen


def choose(probabilities: Sequence[float], count: int, epsilon: float, chance: random.Random) -> list[Pick]:
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
        place = next(place for place, each in enumerate(request.log) if (type(each), each) in missing)
        raise BadRequestError(f"log[{place}]", f"got {request.log[place]!r}, expected the id of a candidate")
    return [index for index, each in enumerate(ids) if each in wanted]


def _best(probabilities: Sequence[float], count: int) -> list[int]:
    """Return the ``count`` most probable candidates, the best first; of equal ones the one that was named first."""
    return nlargest(count, range(len(probabilities)), key=probabilities.__getitem__)
