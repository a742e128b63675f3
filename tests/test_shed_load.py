"""On the simulated site, with a tenth of the negatives learned, predictions are calibrated. Measured on more: benchmarks/freshness/shedding.md."""

import numpy as np
import pytest

from benchmarks.freshness.shedding import calibration, simulated


def test_with_a_tenth_of_the_negatives_learned_what_is_predicted_on_the_simulated_site_is_calibrated() -> None:
    """By the true probabilities, after 1,600 of 8,000 visits; the mean of four salts, as 2,500 negatives alone say a rate to within 1.5 %."""
    assert np.mean([calibration(simulated(8_000), 0.1, salt) for salt in range(4)]) == pytest.approx(1, abs=0.02)
