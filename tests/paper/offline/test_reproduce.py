"""`sml reproduce` makes every run of the paper once, goes on after a kill, and writes the page from what is known."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from paper.layers import Layers
from paper.offline import study
from paper.offline.dataset import EncodedFile
from paper.offline.study import OfflineStudy
from paper.offline.train import Outcome, Recipe, Training
from paper.published import NETWORKS, TABLE_2
from paper.reproduce import reproduce as run_study
from paper.runs import Results
from paper.study import System
from service.cli import app
from tests.paper.offline.files import write
from tests.service.schemas import fits

SEEDS = 1
COMMITTED = Path(__file__).parents[3] / "benchmarks/paper"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Made-up files, and towers that are trained in no time."""
    monkeypatch.setattr(study, "TOWERS", {"criteo": (12, 8, 6), "avazu": (12, 8)})
    monkeypatch.setattr(OfflineStudy, "width", 5)
    write(tmp_path / "train.txt", "criteo")
    write(tmp_path / "train.csv", "avazu")
    return tmp_path


def reproduce(folder: Path, *more: str) -> dict[str, Any]:
    files = f"--criteo {folder}/train.txt --avazu {folder}/train.csv --cache {folder}/cache --pages {folder}/pages"
    small = f"--batch 100 --epochs 1 --seeds {SEEDS} --depths 1,4 --json"
    done = CliRunner().invoke(app, ["reproduce", *files.split(), *small.split(), *more], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def lines(folder: Path) -> list[dict[str, Any]]:
    """The results, without the seconds that they took."""
    found = [json.loads(line) for line in (folder / "pages/results.jsonl").read_text().splitlines()]
    return [line | {"outcome": line["outcome"] | {"seconds": 0}} for line in found]


def test_one_command_makes_every_table_and_figure(folder: Path) -> None:
    answer = reproduce(folder)

    of_each = 6 * 2 + 9 * 2 + 1  # six networks without and with SML; nine terms before and after ReLU, and none
    shared = 4  # the DNN without SML and with it; relu, before ReLU and after it, is vanilla after it
    assert answer == {
        "runs": 2 * (SEEDS * (of_each - shared) + 2 * 2),
        "known": answer["runs"],
        "page": str(folder / "pages/offline.md"),
    }
    page = (folder / "pages/offline.md").read_text()
    assert all(f"| Avazu | {name} | 0." in page for name in NETWORKS.values())
    assert all(f"| Criteo | {skip} | " in page for skip in TABLE_2)
    for name in ("table1_auc", "table1_log_loss", "table2", "figure2", "figure3", "figure4", "figure5"):
        assert (folder / f"pages/{name}.png").read_bytes()[1:4] == b"PNG"
        assert json.loads((folder / f"pages/{name}.json").read_text())


def test_a_command_that_was_killed_goes_on_and_ends_with_the_same_results(folder: Path) -> None:
    reproduce(folder, "--only", "table1")
    whole = lines(folder)
    results = folder / "pages/results.jsonl"
    text = results.read_text()
    results.write_text(text[: len(text) // 2])  # in the middle of a line

    answer = reproduce(folder, "--only", "table1")

    assert answer["known"] == answer["runs"] == len(whole)
    assert lines(folder) == whole


def test_a_run_that_is_known_is_not_made_again(folder: Path) -> None:
    reproduce(folder, "--only", "depth", "--most", "3")
    first = (folder / "pages/results.jsonl").read_text()

    answer = reproduce(folder, "--only", "depth", "--most", "2")

    assert answer["known"] == 5
    assert (folder / "pages/results.jsonl").read_text().startswith(first)
    assert len(lines(folder)) == 5


def test_runs_that_are_made_two_at_a_time_give_what_one_at_a_time_gives(folder: Path) -> None:
    reproduce(folder, "--only", "depth")
    one_at_a_time = lines(folder)
    (folder / "pages/results.jsonl").unlink()

    reproduce(folder, "--only", "depth", "--jobs", "2")

    assert sorted(lines(folder), key=str) == sorted(one_at_a_time, key=str)


def test_the_page_can_be_written_before_anything_is_known(folder: Path) -> None:
    answer = reproduce(folder, "--most", "0")

    assert answer["known"] == 0
    assert "| Criteo | DNN | 0.80948 |  | 0.81042 |  | 0.00094 |  |  |" in (folder / "pages/offline.md").read_text()


def test_without_a_file_nothing_is_done(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["reproduce", "--pages", str(tmp_path / "pages")])

    assert done.exit_code == 2
    assert "--criteo" in done.output
    assert not (tmp_path / "pages").exists()


def test_a_table_holds_the_paper_beside_the_mean_its_interval_and_the_paired_difference(tmp_path: Path) -> None:
    sources = {"avazu": EncodedFile("avazu", "digest", 100, 5, 50, tmp_path)}
    made = OfflineStudy(results=known(tmp_path), seeds=2, sources=sources, recipe=Recipe())
    for skip, seed, auc in (("none", 0, 0.70), ("none", 1, 0.72), ("meta_tanh", 0, 0.71), ("meta_tanh", 1, 0.73)):
        made.results.add(made.run("avazu", System(skip=skip), seed), outcome(auc))

    table = replace(made, results=known(tmp_path)).table1("auc")

    # Student's factor for two values is 12.7062; both spreads are sqrt(0.0002).
    dnn = table.markdown().splitlines()[2]
    assert dnn == (
        "| Avazu | DNN | 0.78376 | 0.71000 (0.58294 to 0.83706) | 0.78459 | 0.72000 (0.59294 to 0.84706) "
        "| 0.00083 | 0.01000 (0.01000 to 0.01000) | 2 |"
    )


def test_another_setting_is_another_run(tmp_path: Path) -> None:
    run = Training("avazu", "digest", "dnn", "none", "pre", (4, 4), 0)
    results = known(tmp_path)

    results.add(run, outcome(0.7))

    assert run in results
    assert results[run] == outcome(0.7)
    for other in (replace(run, digest="x"), replace(run, hidden=(4,)), replace(run, batch=7)):
        assert other not in results


def test_the_committed_page_is_what_the_committed_results_give(tmp_path: Path) -> None:
    """And no run that is in them is made again."""
    shutil.copy(COMMITTED / "results.jsonl", tmp_path)
    digests = {
        line["run"]["data"]: line["run"]["digest"] for line in map(json.loads, (COMMITTED / "results.jsonl").read_text().splitlines())
    }
    rows = {"criteo": 20_053, "avazu": 45_114}
    sources = {data: EncodedFile(data, digests[data], rows[data], 3, 0, tmp_path) for data in rows}
    made = OfflineStudy(results=known(tmp_path), seeds=5, depth_seeds=3, sources=sources, recipe=Recipe(batch=1000))

    done = run_study(made, tmp_path, most=0)

    assert (done.runs, done.known) == (378, 374)
    fits("reproduce", done._asdict())
    for name in ("offline.md", "results.jsonl"):
        assert (tmp_path / name).read_text() == (COMMITTED / name).read_text()


def known(folder: Path) -> Results[Training, Outcome]:
    return Results(folder / "results.jsonl", Outcome)


def outcome(auc: float) -> Outcome:
    return Outcome(1, 3, 0.4, 0.4, auc, [0.0] * 5, Layers([[0.5]] * 3, [0.1]), 1.0)
