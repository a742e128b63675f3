"""What ``Processes`` starts in a test: of each group the first rank is killed at another moment of a round."""

import os
import signal
from itertools import count
from pathlib import Path
from typing import Any

from stream.learn.ranks import groups as rank_groups, leader as ranks

STRUCK = "TEST_RANKS_STRUCK"  # the variable that names the folder with a file for each fault that has struck
MOMENTS = {"learning": "learn_part", "sent": "exchanged", "merging": "merge"}  # → the function that it calls, or that has just returned
_AT = 3  # of the calls: the rank is at work by then
_process = rank_groups._process


def process(port: int, rank: int, size: int) -> None:
    """Be a rank, as ``rank_groups`` has it, until the next fault strikes."""
    struck = Path(os.environ[STRUCK])
    left = [moment for moment in MOMENTS if not (struck / moment).exists()]
    if rank == 1 and left:
        _befall(struck / left[0], left[0])
    _process(port, rank, size)


def _befall(struck: Path, moment: str) -> None:
    name, calls = MOMENTS[moment], count(1)
    call = getattr(ranks, name)

    def strike() -> None:
        struck.touch()
        os.kill(os.getpid(), signal.SIGKILL)

    def befallen(*arguments: Any) -> Any:
        now = next(calls) == _AT
        if now and moment != "sent":
            strike()
        result = call(*arguments)
        if now:
            strike()
        return result

    setattr(ranks, name, befallen)
