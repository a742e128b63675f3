"""With late clicks, ``fnw`` and ``fnc`` are calibrated and fresh; a window that is too short is not calibrated. See benchmarks/joining/delay.md."""

from typing import Any

import numpy as np
import pytest

from benchmarks.joining.delay import RATE, measure
from service.commands.simulation.site import Site, Visit
from stream.settings import JoinSettings

MEAN = 40.0  # seconds from an impression to its click


@pytest.fixture(scope="module")
def visits() -> list[Visit]:
    site = Site(seed=0, rate=RATE)
    return [site.visit() for _ in range(4_000)]


def delay(share: Any) -> Any:
    return -MEAN * np.log1p(-share)


@pytest.mark.parametrize("policy", ["fnw", "fnc"])
def test_without_waiting_what_is_served_is_calibrated(visits: list[Visit], policy: str) -> None:
    settings = JoinSettings.model_validate({"label_policy": policy, "click_window": "10m", "lateness": "1s"})

    got = measure(visits, settings, delay, scored=500)

    assert got.calibration == pytest.approx(1, abs=0.1)
    assert got.impression_to_example < 2
    assert got.click_to_example < 2


def test_a_window_too_short_loses_clicks_and_late_ones_learned_bring_some_back(visits: list[Visit]) -> None:
    settings = {"click_window": MEAN / 2, "lateness": "1s"}

    lost = measure(visits, JoinSettings.model_validate(settings), delay, scored=500)
    learned = measure(visits, JoinSettings.model_validate(settings | {"late_clicks": "learn"}), delay, scored=500)

    assert lost.calibration < 0.6
    assert lost.calibration + 0.05 < learned.calibration < 1
