"""``sml init`` writes a pair of fields where what they tell together is beyond doubt, and crosses nothing that is of a person."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.settings import Field
from service.commands.evaluation.evaluate import USUAL, evaluate
from service.commands.init import init
from service.settings import Settings, load
from stream.settings import DataSettings

ROWS = 12_000


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Callable[[float, str], Path]:
    """Return what writes a log in which two of five fields tell so much together."""

    def written(together: float, name: str) -> Path:
        random = np.random.default_rng(5)
        values = np.stack([random.integers(count, size=ROWS) for count in (6, 8, 10, 30, 4)])
        logits = -1.2 + random.normal(0, 0.4, 6)[values[0]] + together * random.normal(0, 1, (6, 8))[values[0], values[1]]
        clicked = random.random(ROWS) < 1 / (1 + np.exp(-logits))
        names = f"click,{name},category,item,campaign,position"
        rows = [f"{int(click)},a{a},b{b},c{c},d{d},e{e}" for click, a, b, c, d, e in zip(clicked, *values, strict=True)]
        path = tmp_path_factory.mktemp("crosses") / "clicks.csv"
        path.write_text("\n".join([names, *rows]) + "\n")
        return path

    return written


def initial(path: Path) -> Settings:
    init(path, DataSettings(label="click"), path.with_name("sml.toml"), every=False)
    return load(path.with_name("sml.toml"))


def pairs(settings: Settings) -> list[Field]:
    return [field for field in settings.field if field.of]


def without_pairs(settings: Settings) -> Settings:
    return settings.model_copy(update={"field": tuple(field for field in settings.field if not field.of)})


def test_the_pair_that_tells_more_together_is_crossed_and_learned_better(log: Callable[[float, str], Path]) -> None:
    path = log(1.0, "country")
    settings = initial(path)
    without = without_pairs(settings)

    assert [(field.name, field.of) for field in pairs(settings)] == [("country:category", ("country", "category"))]
    assert evaluate(path, settings, USUAL)["log_loss"] < 0.98 * evaluate(path, without, USUAL)["log_loss"]


@pytest.mark.parametrize(("together", "name"), [(0.0, "country"), (1.0, "user_id")])
def test_neither_chance_nor_a_person_is_crossed(log: Callable[[float, str], Path], together: float, name: str) -> None:
    assert pairs(initial(log(together, name))) == []


def test_lists_of_many_pairs_are_not_crossed(tmp_path: Path) -> None:
    random, path = np.random.default_rng(3), tmp_path / "clicks.jsonl"
    likes, tags = random.integers(4, size=(3_000, 6)), random.integers(4, size=(3_000, 6))
    rows = [
        {"click": int(a[0] == b[0]), "likes": a.tolist(), "tags": b.tolist(), "one": int(a[0])} for a, b in zip(likes, tags, strict=True)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))

    assert ("likes", "tags") not in [field.of for field in pairs(initial(path))]


@pytest.mark.parametrize(("matters", "found"), [(3.0, [("item&seen", "overlap", ("item", "seen"))]), (0.0, [])])
def test_whether_a_list_holds_an_item_is_a_field_where_that_matters(tmp_path: Path, matters: float, found: list[Any]) -> None:
    random, path = np.random.default_rng(4), tmp_path / "clicks.jsonl"
    seen, items = random.integers(200, size=(8_000, 12)), random.integers(200, size=8_000)
    again = (seen == items[:, None]).any(axis=1) | (random.random(8_000) < 0.2)
    seen[again, 0] = items[again]
    clicked = random.random(8_000) < 1 / (1 + np.exp(1.5 - matters * again))
    rows = [
        {"click": int(c), "item": f"i{i}", "seen": [f"i{s}" for s in all_seen]} for c, i, all_seen in zip(clicked, items, seen, strict=True)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))

    settings = initial(path)

    assert [(field.name, field.kind, field.of) for field in pairs(settings)] == found
    without = without_pairs(settings)
    assert not found or evaluate(path, settings, USUAL)["log_loss"] < 0.9 * evaluate(path, without, USUAL)["log_loss"]


@pytest.mark.parametrize(("rows", "found"), [(4_000, [("country", "category")]), (3_999, [])])
def test_the_more_pairs_there_are_the_fewer_rows_they_are_judged_by(
    log: Callable[[float, str], Path], monkeypatch: pytest.MonkeyPatch, rows: int, found: list[tuple[str, str]]
) -> None:
    path = log(2.0, "country")

    monkeypatch.setattr("service.onboarding.pairs.WORK", 10 * rows)  # of ten pairs

    assert [field.of for field in pairs(initial(path))] == found


def test_a_column_that_has_the_name_of_a_cross_keeps_it(log: Callable[[float, str], Path]) -> None:
    path = log(1.0, "country")
    path.write_text(path.read_text().replace("position", "country:category", 1))

    assert pairs(initial(path)) == []


def test_a_log_in_which_nothing_was_clicked_has_no_pairs(log: Callable[[float, str], Path]) -> None:
    path = log(1.0, "country")
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(f"0{row[1:]}" for row in rows[:2_000])]))

    assert pairs(initial(path)) == []
