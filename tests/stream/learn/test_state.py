"""What a learner says of itself in a version is true, small, and comes every other second at most."""

import json
import time
from math import log as ln
from pathlib import Path

import numpy as np
import pytest

from model.evaluation.quality import Quality
from model.evaluation.scores import RunningScores, log_losses
from model.explanation.contributions import contributions
from model.guard.sample import Sample
from model.online import OnlineModel
from model.settings import Field, ModelSettings, Spec
from stream.learn import state
from stream.learn.metrics import Lag
from stream.learn.trainer import Trainer
from stream.log.contract import Log
from stream.records.events import decode_example, encode
from stream.records.version import Version
from stream.weights.follow import newest_weights
from tests.stream.learning import SPEC, TOPICS, all_versions, examples, learn_all, learner, opened, polls, records
from tests.stream.weights.test_follow import follow_to_the_end

COUNT = 1_500


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    """Return a trainer that has learned the examples."""
    trainer = Trainer(OnlineModel(SPEC), RunningScores())
    trainer.quality = Quality(SPEC)
    with opened(tmp_path) as log:
        log.append(examples(COUNT))
        trainer.learn(records(log, TOPICS.examples))
    return trainer


def test_a_version_says_how_good_the_predictions_were_and_a_server_is_told(
    tmp_path: Path, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "EVERY", 0.0)
    with opened(tmp_path) as log:
        version = learn_all(log, tmp_path)
        service = follow_to_the_end(log)
        wide = wide_log_loss(log)

    labels = [json.loads(message.value or b"")["label"] for message in examples(COUNT)]
    rate = sum(labels) / len(labels)
    assert service.learner
    assert service.learner == version.learner
    assert (service.learner.examples, service.learner.lag_records) == (COUNT, 0)
    assert service.learner.log_loss == pytest.approx(trainer.scores.recent().log_loss)
    assert service.learner.auc == pytest.approx(trainer.scores.recent().auc, abs=0.005)
    assert service.learner.wide_log_loss == pytest.approx(wide, rel=0.05)  # of a part of the examples, perhaps
    assert service.learner.base_rate_log_loss == pytest.approx(-rate * ln(rate) - (1 - rate) * ln(1 - rate))
    assert sum(count for _, _, count in service.learner.curve) == COUNT


def wide_log_loss(log: Log) -> float:
    """Return the log loss of the wide term alone, of each example before the poll that learned it: the bias and the values' own weights."""
    trainer, losses = Trainer(OnlineModel(SPEC), RunningScores()), []
    stream = records(log, TOPICS.examples)
    for start in range(0, len(stream), 512):
        decoded = [decode_example(record.value) for record in stream[start : start + 512]]
        features, _ = trainer.preparer.encoder.encode([each.features for each in decoded], [each.time for each in decoded])
        found = contributions(trainer.model.weights, features)
        logits = found.bias + found.wide.sum(1, dtype=np.float64)
        losses += log_losses(logits, np.array([each.label for each in decoded])).tolist()
        trainer.learn(stream[start : start + 512])
    return float(np.mean(losses))


def test_a_server_that_starts_is_told_though_the_newest_version_says_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.append(examples(COUNT))
        assert learn_all(log, tmp_path).learner is None
        service = follow_to_the_end(log)

    assert service.learner


def test_it_is_said_every_other_second_at_most(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.append(examples(3_000))
        learner(log, tmp_path).run(polls(8))
        versions = all_versions(log)

    assert len(versions) > 3
    assert [bool(version.learner) for version in versions] == [True, *[False] * (len(versions) - 1)]


def test_the_shares_are_the_means_of_what_the_terms_are_in_the_newest_examples(trainer: Trainer) -> None:
    said = state.state_of(trainer, Lag(3, 0.25))

    sample = trainer.guard.recent
    found = contributions(trainer.model.weights, sample.features)
    expected = {
        "bias": found.bias,
        "wide": found.wide.sum(1),
        "skip 1": found.skip[:, 0],
        "skip 2": found.skip[:, 1],
        "main path": found.output,
    }
    assert said.terms == pytest.approx({name: np.abs(term).mean() for name, term in expected.items()}, rel=1e-3)
    assert said.fields == pytest.approx(
        {field.name: np.abs(found.wide[:, f] + found.deep[:, f]).mean() for f, field in enumerate(SPEC.fields)}, rel=1e-3
    )
    assert list(said.fields.values()) == sorted(said.fields.values(), reverse=True)
    assert (said.lag_records, said.lag_seconds) == (3, 0.25)
    assert said.rows == np.count_nonzero(trainer.model.table.keys)


def test_before_there_is_anything_to_say_nothing_is_said() -> None:
    said = state.state_of(Trainer(OnlineModel(SPEC), RunningScores()), Lag(0, 0.0))

    assert (said.examples, said.log_loss, said.terms, said.fields, said.curve) == (0, None, {}, {}, [])


def test_what_is_not_finite_is_not_said_so_that_the_version_stays_one(trainer: Trainer) -> None:
    weights = OnlineModel(SPEC).weights
    weights.dense[:] = np.inf

    terms, fields = state.shares(weights, trainer.guard.recent)

    assert np.isfinite([*terms.values(), *fields.values()]).all()


def test_what_is_said_stays_small_whatever_the_number_of_fields(trainer: Trainer) -> None:
    many = Spec(model=ModelSettings(hidden=(8,) * 10, embedding=2), fields=tuple(Field(name=f"field {n}") for n in range(100)))
    model = OnlineModel(many.model_copy(update={"table": SPEC.table}))
    sample = trainer.guard.recent
    first = sample.features
    keys = np.tile(first.keys[: first.starts[3]], 34)[:100]
    small = Sample([each._replace(keys=keys, starts=np.arange(101)) for each in sample._kept])

    terms, fields = state.shares(model.weights, small)

    assert (len(terms), len(fields)) == (11, 20)  # ten layers and the main path; bias and wide term are 0 yet
    assert len(encode(state.state_of(trainer, Lag(0, 0.0)))) < 1_500


def test_a_version_that_says_nothing_is_read_as_before() -> None:
    """By a program that knows nothing of it, either: what is not there takes no byte."""
    version = Version(1, "d", 0, None, {}, [], [], "s", "f", int(time.time()))

    assert b"learner" not in encode(version)


def test_the_weights_are_those_of_a_learner_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = []
    for every in (0.0, 1e9):
        monkeypatch.setattr(state, "EVERY", every)
        folder = tmp_path / str(every)
        folder.mkdir()
        with opened(folder) as log:
            log.append(examples(700))
            learn_all(log, folder)
            digests.append(newest_weights(log, TOPICS)[0].digest)

    assert digests[0] == digests[1]
