"""Beside each other: contenders are given the same rows to predict and to learn, and none predicts with what is not yet known."""

import importlib.util
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy import __main__ as command
from benchmarks.accuracy.contenders import BASE_RATE, CONTENDERS, OURS
from benchmarks.accuracy.recorded import RecordedLog, recorded, schedule, steps
from benchmarks.accuracy.results import Result, difference, read_results
from benchmarks.accuracy.trees import PRIOR, TargetEncoder
from service.commands.evaluation.evaluate import USUAL, Protocol, evaluate
from service.settings import Settings, load

ROWS, DELAY = 400, 60_000  # ms
SERVED = Protocol("served", DELAY / 1000, ("time", "user"))
INSTALLED = [
    name
    for name in CONTENDERS
    if all(
        importlib.util.find_spec(library)
        for word, library in {"Vowpal": "vowpalwabbit", "River": "river", "LightGBM": "lightgbm"}.items()
        if word in name
    )
]


@pytest.fixture(scope="module")
def log_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Settings]:
    """Return a small log with pages, lists, numbers, missing ones and times that stand still, and its settings."""
    folder = tmp_path_factory.mktemp("log")
    random = np.random.default_rng(0)
    lines = []
    for n in range(ROWS):
        row = {"time": 1_760_000_000_000 + n // 3 * 7_000, "user": f"u{n // 3 % 20}", "tags": random.choice(list("abc"), 2).tolist()}
        lines.append(json.dumps(row | {"price": None if n % 7 == 0 else n % 11, "click": int(random.random() < 0.3)}))
    fields = [("user", "categorical"), ("tags", "multi"), ("price", "numeric"), ("hour", "hour")]
    text = '[data]\ntime = "time"\ntogether = ["time", "user"]\n[model]\nhidden = [8, 4]\nrecords = true\n[table]\ncapacity = 4096\n'
    text += "".join(f'[[field]]\nname = "{name}"\nkind = "{kind}"\n' + "tiles = 4\n" * (kind == "numeric") for name, kind in fields)
    (folder / "log.jsonl").write_text("\n".join(lines))
    (folder / "sml.toml").write_text(text)
    return folder / "log.jsonl", load(folder / "sml.toml")


@pytest.fixture(scope="module")
def log(log_file: tuple[Path, Settings]) -> RecordedLog:
    """Return the log in memory."""
    return recorded(*log_file)


def test_ours_is_what_sml_evaluate_says(log: RecordedLog, log_file: tuple[Path, Settings]) -> None:
    for protocol in (USUAL, SERVED):
        expected = evaluate(*log_file, protocol)["log_loss"]

        (predictions,) = CONTENDERS[OURS].prepare(log, schedule(log, protocol), [0])()

        assert -np.log(np.where(log.labels > 0, predictions, 1 - predictions)).mean() == pytest.approx(expected, abs=1e-6)


def test_a_row_is_predicted_once_nothing_of_its_page_is_learned_and_every_label_before_it_in_order(log: RecordedLog) -> None:
    known = schedule(log, SERVED)
    learned = predicted = 0
    for to_learn, to_predict in steps(known):
        assert (to_learn.start, to_predict.start) == (learned, predicted)
        learned, predicted = to_learn.stop, to_predict.stop
        for n in range(to_predict.start, to_predict.stop):
            assert learned == sum(time + DELAY <= log.times[n] for time in log.times)

    assert predicted == ROWS


@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize("protocol", [USUAL, SERVED], ids=["usual", "served"])
def test_no_contender_predicts_with_a_label_that_is_not_known(name: str, protocol: Protocol, log: RecordedLog) -> None:
    known = schedule(log, protocol)
    half = ROWS // 2
    other = replace(log, labels=np.concatenate([log.labels[:half], 1 - log.labels[half:]]))

    one, two = (CONTENDERS[name].prepare(each, known, [0])() for each in (log, other))

    assert np.array_equal(one[:, known <= half], two[:, known <= half], equal_nan=True)
    assert not np.allclose(one[:, known > half], two[:, known > half], equal_nan=True)


@pytest.mark.parametrize("name", [name for name in INSTALLED if CONTENDERS[name].by_chance])
def test_each_seed_learns_as_if_it_were_alone(name: str, log: RecordedLog) -> None:
    known = schedule(log, SERVED)

    both = CONTENDERS[name].prepare(log, known, [1, 2])()

    for seed, predictions in zip([1, 2], both, strict=True):
        assert np.allclose(CONTENDERS[name].prepare(log, known, [seed])()[0], predictions, atol=1e-5, equal_nan=True)


def test_a_value_is_encoded_by_its_click_rate_so_far(log: RecordedLog) -> None:
    encoder = TargetEncoder(log)
    encoder.learn(slice(0, 300))

    told = encoder.encode(slice(300, 301))[0]

    rate = (log.labels[:300].sum() + 0.5) / 301
    user = [n for n in range(300) if log.values[log.row_starts[n]] == log.values[log.row_starts[300]]]
    assert told[0] == pytest.approx((log.labels[user].sum() + PRIOR * rate) / (len(user) + PRIOR))
    assert told[2] == pytest.approx(np.log1p(len(user)))


def test_a_difference_is_in_its_interval_and_nothing_differs_from_itself() -> None:
    random = np.random.default_rng(0)
    losses = 0.5 + 0.1 * random.random((1, 64)) + 0.001 * random.random((10, 64))

    itself = difference(losses.tolist(), losses[:1].tolist())
    assert itself is not None
    assert itself.mean == pytest.approx(0.0, abs=2e-3)
    found = difference((0.98 * losses).tolist(), losses.tolist())
    assert found is not None

    assert found.mean == pytest.approx(-0.02)
    assert found.low < -0.02 < found.high < -0.019


def test_who_shares_no_row_is_not_compared() -> None:
    assert difference([[math.nan, 0.5]], [[0.5, math.nan]]) is None


def test_a_run_is_shown_beside_those_that_are_there_and_is_not_done_again(
    tmp_path: Path, log_file: tuple[Path, Settings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, settings = log_file
    arguments = ["accuracy", str(path), str(path.with_name("sml.toml")), "--seeds", "2", "--output", str(tmp_path), "--only"]
    monkeypatch.setattr("sys.argv", [*arguments, BASE_RATE])
    command.main()
    assert not capsys.readouterr().out  # there is nothing to compare it with
    monkeypatch.setattr("sys.argv", [*arguments, OURS])
    command.main()
    assert f"| {BASE_RATE} |" in capsys.readouterr().out
    first = read_results(tmp_path / "results.jsonl")

    command.main()

    assert read_results(tmp_path / "results.jsonl") == first
    assert {(result.protocol, result.contender) for result in first.values()} == {
        (p, c) for p in ("usual", "served") for c in (OURS, BASE_RATE)
    }
    assert (tmp_path / "log.svg").exists()
    assert isinstance(next(iter(first.values())), Result)
    assert settings.data.timed
