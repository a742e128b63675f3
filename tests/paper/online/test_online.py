"""The claims in a stream: what is scored was predicted before it was learned, and a pass that was made is never made again."""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from model.online import OnlineModel
from model.settings import Field
from paper.online.bootstrap import auc, log_loss, tally
from paper.online.passes import Outcome, Pass, embed, learn_before, learn_once, probes_of
from paper.online.stream import HOUR, PREFIX, Stream, encode
from paper.online.study import CHOOSING, OnlineStudy
from paper.reproduce import reproduce
from paper.runs import Results
from service.cli import app
from stream.files.layout import Logged

FIELDS = [Field(name="user_id"), Field(name="tags", kind="multi"), Field(name="price", kind="numeric")]
DAY = 24 * HOUR
MIDNIGHT = 19_000 * DAY - 8 * HOUR  # where KuaiRand's users are


def rows(n: int, days: int = 4) -> Iterator[list[Logged]]:
    """Rows in the order of time, some at a time; who clicks is a matter of the user."""
    random = np.random.default_rng(0)
    made = []
    for number in range(1, n + 1):
        user = int(random.integers(200))
        features: dict[str, Any] = {"user_id": str(user), "tags": ["a", "b", "c"][: 1 + number % 3], "price": float(random.random())}
        clicked = int(random.random() < (0.3 if user % 2 else 0.7))
        made.append(Logged(number, MIDNIGHT + (number - 1) * days * DAY // n, clicked, features, None))
    for a in range(0, n, 1000):
        yield made[a : a + 1000]


@pytest.fixture(scope="module")
def stream() -> Stream:
    return encode("kuairand", FIELDS, rows(4000))


@pytest.fixture(scope="module")
def unordered() -> Stream:
    return encode("criteo", FIELDS, rows(4000))


def a_pass(**different: Any) -> Pass:
    settings: dict[str, Any] = {"data": "kuairand", "digest": "", "network": "dnn", "skip": "meta_tanh", "skip_input": "pre"}
    return Pass(**settings | {"hidden": (6, 4), "seed": 0, "tower_rate": 0.01, "tower_accumulator": 0.003} | different)


def test_a_block_is_a_day_where_the_users_are_and_the_beginning_is_set_aside(stream: Stream) -> None:
    assert np.bincount(stream.blocks + 1).tolist() == [1000] * 4
    assert stream.scored == 1000 >= PREFIX * 4000
    assert stream.ordered


def test_users_stay_together(stream: Stream) -> None:
    user_keys = stream.features.keys[stream.features.starts[: -1 : len(FIELDS)]]

    groups = {key: set(stream.users[user_keys == key]) for key in np.unique(user_keys)}

    assert all(len(group) == 1 for group in groups.values())


def test_an_example_is_taken_whole(stream: Stream) -> None:
    taken = stream.take(np.array([7, 3]))

    for position, n in enumerate((7, 3)):
        assert taken.labels[position] == stream.labels[n]
        for f in range(3):
            one, other = (of.starts[p * 3 + f : p * 3 + f + 2] for of, p in ((taken.features, position), (stream.features, n)))
            assert taken.features.keys[slice(*one)].tolist() == stream.features.keys[slice(*other)].tolist()


def test_a_file_without_an_order_is_learned_in_another_for_each_seed_but_for_its_beginning(unordered: Stream) -> None:
    one, again, other = (unordered.in_order(seed) for seed in (1, 1, 2))

    assert one.digest == again.digest != other.digest
    assert one.take(np.arange(one.scored)).digest == other.take(np.arange(other.scored)).digest
    assert sorted(one.blocks) == sorted(other.blocks)


@pytest.mark.parametrize("network", ["dnn", "dcn_v2"])
def test_what_an_example_is_predicted_does_not_depend_on_its_label_or_on_any_example_after_it(stream: Stream, network: str) -> None:
    n = 2500
    labels = stream.labels.copy()
    labels[n:] = 1 - labels[n:]
    keys = stream.features.keys.copy()
    keys[stream.features.starts[(n + 1) * len(FIELDS)] :] += np.uint64(1)
    changed = stream._replace(labels=labels, features=stream.features._replace(keys=keys))
    run = a_pass(network=network)

    logits, others = (learn_before(run, of, len(labels)).logits for of in (stream, changed))

    np.testing.assert_array_equal(logits[: n + 1], others[: n + 1])
    assert (logits[n + 1 :] != others[n + 1 :]).all()


def test_a_pass_scores_what_one_learner_predicts_example_by_example(stream: Stream) -> None:
    run = a_pass(skip="none")
    model = OnlineModel(run.spec(stream.fields))
    ones = [stream.take(np.array([n])) for n in range(len(stream.labels))]
    logits = np.array([model.learn(one.features, one.labels).logits[0] for one in ones])
    expected = tally(logits[1000:], stream.labels[1000:], stream.blocks[1000:])

    outcome = learn_once(run, stream)

    for name, theirs in vars(expected).items():
        np.testing.assert_array_equal(getattr(outcome.blocks, name), theirs)
    assert outcome.weights_digest == model.digest()
    assert outcome.excluded == 0


def test_settings_are_chosen_on_the_beginning_alone(stream: Stream) -> None:
    labels = stream.labels.copy()
    labels[stream.scored :] = 1 - labels[stream.scored :]
    run = a_pass(prefix=True)

    one, other = (learn_once(run, of) for of in (stream, stream._replace(labels=labels)))

    assert one.blocks.clicks.sum() + one.blocks.others.sum() == stream.scored
    np.testing.assert_array_equal(one.blocks.log_loss, other.blocks.log_loss)


def test_what_is_looked_into_gives_the_logits_that_are_served(stream: Stream) -> None:
    """The torch definition gets the inputs that the kernels get: seen values, unseen ones, lists."""
    run = a_pass()
    probes = probes_of(stream)
    model = OnlineModel(run.spec(stream.fields))
    model.learn(stream.take(np.arange(50)).features, stream.labels[:50])

    embedded, wide = embed(model.weights, probes)
    last = learn_before(run, stream, len(stream.labels)).moments[-1]

    assert embedded.shape == (256, 3, 8)
    assert wide.any()
    served = OnlineModel(run.spec(stream.fields))
    served.learn(stream.features, stream.labels)
    quantiles = np.quantile(served.weights.predict(probes), [0.05, 0.25, 0.5, 0.75, 0.95])
    np.testing.assert_allclose(last.logit, quantiles, atol=2e-4)
    assert last.examples == 4000
    assert np.shape(last.layers.active) == (3, 2)
    assert len(last.layers.cosine) == 2


def test_an_outcome_that_was_written_down_is_the_same(stream: Stream, tmp_path: Path) -> None:
    run, outcome = a_pass(), learn_once(a_pass(), stream)
    known(tmp_path).add(run, outcome)

    again = known(tmp_path)[run]

    ones = np.ones((1, 3))
    assert log_loss(again.blocks, ones) == pytest.approx(log_loss(outcome.blocks, ones), abs=1e-6)
    assert again.users is not None
    assert outcome.users is not None
    assert auc(again.users, np.ones((1, 20))) == pytest.approx(auc(outcome.users, np.ones((1, 20))), abs=1e-6)
    assert again.moments == outcome.moments


def known(folder: Path) -> Results[Pass, Outcome]:
    return Results(folder / "online.jsonl", Outcome)


def study_of(stream: Stream, folder: Path, seeds: int = 1, learn: Callable[[Pass, Stream], Outcome] = learn_once) -> OnlineStudy:
    return OnlineStudy(results=known(folder), seeds=seeds, depth_seeds=seeds, streams={"kuairand": stream}, learn=learn)


class Fake:
    """Stands in for a pass, and remembers which were asked for."""

    def __init__(self, outcome: Outcome, stop_after: int | None = None) -> None:
        self.made: list[Pass] = []
        self._outcome, self._stop_after = outcome, stop_after

    def __call__(self, run: Pass, _stream: Stream) -> Outcome:
        if len(self.made) == self._stop_after:
            raise KeyboardInterrupt
        self.made.append(run)
        return self._outcome


def test_a_command_that_was_stopped_goes_on_where_it_was(stream: Stream, tmp_path: Path) -> None:
    outcome = learn_once(a_pass(), stream)
    first, rest = Fake(outcome, stop_after=50), Fake(outcome)

    with pytest.raises(KeyboardInterrupt):
        reproduce(study_of(stream, tmp_path, learn=first), tmp_path)
    with (tmp_path / "online.jsonl").open("a") as file:
        file.write('{"run": {"data"')  # a line that the kill has cut short
    done = reproduce(study_of(stream, tmp_path, learn=rest), tmp_path)

    study = study_of(stream, tmp_path)
    assert first.made + rest.made == study.preparation() + study.runs()
    assert done.known == done.runs == len(study.runs())
    assert "Table 1 in a stream" in (tmp_path / "online.md").read_text()
    assert (tmp_path / "online_figure5.png").exists()


@pytest.fixture
def chosen(stream: Stream, tmp_path: Path) -> OnlineStudy:
    """A study of two seeds, whose settings are chosen."""
    study = study_of(stream, tmp_path, seeds=2)
    outcome = learn_once(a_pass(prefix=True), stream)
    better = replace(outcome, blocks=replace(outcome.blocks, log_loss=outcome.blocks.log_loss * 0.9))
    for run in study.preparation():
        best = (run.tower_rate, run.tower_accumulator) == ((0.03, 0.001) if len(run.hidden) == 16 else (0.003, 0.01))
        study.results.add(run, better if best else outcome)
    return study


def test_the_settings_with_the_least_log_loss_are_taken(chosen: OnlineStudy) -> None:
    assert chosen.chosen("kuairand", "relu", deep=False) == (0.003, 0.01)
    assert chosen.chosen("kuairand", "none", deep=True) == (0.03, 0.001)


def test_no_seed_that_is_scored_chose_the_settings(chosen: OnlineStudy) -> None:
    assert {(run.seed, run.prefix) for run in chosen.preparation()} == {(CHOOSING, True)}
    assert {(run.seed, run.prefix) for run in chosen.runs()} == {(0, False), (1, False)}


def test_more_seeds_make_only_what_is_new(chosen: OnlineStudy) -> None:
    of_one = replace(chosen, seeds=1, depth_seeds=1).runs()

    more = [run for run in chosen.runs() if run not in of_one]

    assert {run.seed for run in more} == {1}
    assert len(more) == len(of_one)


def test_the_command_learns_a_file_once_and_writes_the_page(tmp_path: Path) -> None:
    """Three passes of a made-up file; the next command has nothing left to do for them."""
    with (tmp_path / "log.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["click", "time_ms", "user_id", "price"])
        for batch in rows(2000):
            writer.writerows([row.label, row.time, row.features["user_id"], row.features["price"]] for row in batch)
    command = ["reproduce", "--online", "--kuairand", str(tmp_path / "log.csv"), "--seeds", "1", "--pages", str(tmp_path), "--json"]

    known = []
    for most in ("3", "0"):
        done = CliRunner().invoke(app, [*command, "--most", most], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        known.append(json.loads(done.stdout.splitlines()[-1])["known"])

    assert known == [3, 3]
    assert "| KuaiRand, by user | DNN |  | 0." in (tmp_path / "online.md").read_text()


def test_online_without_a_file_is_told_what_is_expected() -> None:
    done = CliRunner().invoke(app, ["reproduce", "--online"])

    assert done.exit_code == 2
    assert "expected --avazu, --kuairand or --criteo" in done.output
