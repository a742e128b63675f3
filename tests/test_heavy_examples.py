"""The heaviest example accepted costs the others next to nothing, whatever its label and position. See benchmarks/defaults/weights.md."""

import pytest

from benchmarks.defaults.weights import RecordedLog, costs, losses, recorded
from model.settings import Spec
from service.cli.first_steps import init
from service.settings import load
from stream.settings import LearnSettings
from tests.helpers.recorded_logs import recorded_log


@pytest.fixture(scope="module")
def avazu(tmp_path_factory: pytest.TempPathFactory) -> tuple[Spec, RecordedLog]:
    """Return Avazu's sample, and the model that ``sml init`` writes for it."""
    file, output = recorded_log("avazu_sample.csv.gz"), tmp_path_factory.mktemp("avazu") / "sml.toml"
    init([str(file)], output=output)
    settings = load(output)
    return settings.spec, recorded(file, settings)


@pytest.mark.parametrize("weight", [LearnSettings().max_weight, 1e6])
def test_one_heavy_example_costs_the_others_at_most_half_a_thousandth_of_log_loss(avazu: tuple[Spec, RecordedLog], weight: float) -> None:
    """Of .4089; without the bound it is twenty times as much."""
    spec, log = avazu
    before = losses(spec, log)

    rises = [rise for row in (100, 1_000, 10_000, 40_000) for rise in costs(spec, log, before, row, weight)]

    assert max(rises) <= 0.0005
