"""Each slice's scores are those of its examples, and a field with endless values takes no more memory than another."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from model.encoding.keys import Value
from model.settings import Field
from service.report.slices import MOST, SHOWN, Slices


def sliced(field: Field, values: list[Value], logits: np.ndarray, clicked: np.ndarray, times: list[int] | None = None) -> Slices:
    slices = Slices(field)
    codes = [slices.code({field.name: value}, time) for value, time in zip(values, times or [0] * len(values), strict=True)]
    slices.add(np.array(codes), logits, clicked)
    return slices


def test_a_slice_has_the_scores_of_its_examples() -> None:
    random = np.random.default_rng(0)
    values: list[Value] = ["a", "b", None] * 1_000
    logits = random.normal(-1, 1.5, size=3_000).astype(np.float32)
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    clicked = (random.random(3_000) < probabilities).astype(np.float32)

    found = {each.value: each for each in sliced(Field(name="x"), values, logits, clicked).shown()}

    assert set(found) == {"a", "b", "missing"}
    for start, value in enumerate(("a", "b", "missing")):
        own = slice(start, None, 3)
        assert (found[value].examples, found[value].clicks) == (1_000, clicked[own].sum())
        assert found[value].auc == pytest.approx(roc_auc_score(clicked[own], logits[own]), abs=0.002)
        assert found[value].calibration is not None
        calibration, noise = found[value].calibration or (0, 0)
        assert calibration == pytest.approx(probabilities[own].sum() / clicked[own].sum())
        assert abs(calibration - 1) < 1.5 * noise


def test_later_values_of_a_field_with_endless_values_count_together() -> None:
    values: list[Value] = [*["often"] * 50, *(f"v{n}" for n in range(3 * MOST))]
    slices = sliced(Field(name="x"), values, np.zeros(len(values)), np.ones(len(values)))

    shown = slices.shown()

    assert len(shown) == SHOWN + 1
    assert (shown[0].value, shown[0].examples) == ("often", 50)
    assert (shown[-1].value, shown[-1].examples) == ("all others", len(values) - 50 - (SHOWN - 1))
    assert sum(each.examples for each in shown) == len(values)


@pytest.mark.parametrize(
    ("field", "values", "times", "expected"),
    [
        (Field(name="price", kind="numeric"), ["9.5", 8, -3, 0, 0.3], None, ["-2 to -4", "0", "0.25 to 0.5", "8 to 16"]),
        (Field(name="price", kind="numeric"), [1e308, float("nan"), ""], None, ["missing", "8.98847e+307 to inf"]),
        (Field(name="tags", kind="multi"), [["a", "b"], ["a", "b"], []], None, ["a, b", "missing"]),
        (Field(name="h", kind="hour"), [None, None], [3_600_000, 0], ["00:00", "01:00"]),
        (Field(name="d", kind="weekday"), [None], [0], ["Thursday"]),
    ],
)
def test_a_slice_is_named_by_what_its_values_have_in_common(
    field: Field, values: list[Value], times: list[int] | None, expected: list[str]
) -> None:
    shown = sliced(field, values, np.zeros(len(values)), np.ones(len(values)), times).shown()

    assert [each.value for each in shown] == expected
