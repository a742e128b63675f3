"""A run is what its settings say: its inputs are AutoInt's, its scores those of its best epoch, its layers seen as they are."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score
from torch import nn

from model.networks.build import build
from model.registry import NETWORKS
from paper.layers import LayerWatcher
from paper.offline import train as training
from paper.offline.dataset import DataError, Dataset, fields, split
from paper.offline.preprocess import encode
from paper.offline.train import WIDE, Embedded, Training, train
from tests.paper.offline.files import write

EPOCHS = 3
RECIPE: dict[str, Any] = {"batch": 50, "epochs": EPOCHS, "embedding": 4, "cin": (3,), "attention": (5,)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "rows", "criteo")
    return encode(tmp_path / "rows", "criteo", 3, tmp_path / "cache", lambda blocks, _what: iter(blocks))


def run(folder: Path, network: str = "dnn", skip: str = "meta_tanh") -> Training:
    return Training("criteo", Dataset.open(folder).digest, network, skip, "pre", (8, 6), 0, **RECIPE)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_inputs_are_rows_of_the_table_and_numbers_times_their_vector(name: str, folder: Path) -> None:
    """And the wide term, where the network has one, is the same with one weight for a vector."""
    data = Dataset.open(folder)
    embedded = Embedded(run(folder, name).spec(fields("criteo")), data.table)
    for parameter in embedded.parameters():
        if parameter.shape != embedded.deep.table.weight.shape:
            nn.init.normal_(parameter, std=0.1)
    batch = data.take(np.arange(7), torch.device("cpu"))

    logits = embedded(batch.values, batch.ids)

    assert (embedded.wide is not None) == (name in WIDE)
    for n, logit in enumerate(logits):
        vectors, weights = [], []
        for k, value in enumerate(batch.values[n]):
            vectors.append(value * embedded.deep.scales[k])
            weights.append(value * embedded.wide.scales[k, 0] if embedded.wide else torch.tensor(0.0))
        for row in batch.ids[n]:
            vectors.append(embedded.deep.table.weight[row])
            weights.append(embedded.wide.table.weight[row, 0] if embedded.wide else torch.tensor(0.0))
        expected = embedded.network(torch.stack(vectors)[None], torch.stack(weights)[None])[0]
        torch.testing.assert_close(logit, expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_missing_value_stays_zero_whatever_is_learned(name: str, folder: Path) -> None:
    trial = training._Trial(run(folder, name), Dataset.open(folder))
    before = trial.network.deep.table.weight.detach().clone()

    trial.learn()

    after = trial.network.deep.table.weight.detach()
    assert not after[0].any()
    assert not torch.equal(after, before)


def test_the_same_run_gives_the_same_outcome(folder: Path) -> None:
    first, second = (replace(train(run(folder), folder), seconds=0) for _ in range(2))

    assert first == second


def test_the_scores_are_those_of_the_best_epoch_on_the_validation_set(folder: Path) -> None:
    """Each epoch again by hand, scored by another library."""
    data = Dataset.open(folder)
    rows = split(len(data.labels), 0)
    trial = training._Trial(run(folder), data)
    tried = []
    for epoch in range(EPOCHS + 1):
        if epoch:
            trial.learn()
        losses = []
        for part in (rows.valid, rows.test):
            batch = data.take(part, torch.device("cpu"))
            with torch.no_grad():
                clicked = torch.sigmoid(trial.network(batch.values, batch.ids)).double().numpy()
            losses += [log_loss(batch.labels, clicked), roc_auc_score(batch.labels, clicked)]
        tried.append((losses[0], epoch, losses[2], losses[3]))

    outcome = train(run(folder), folder)

    best = min(tried[: outcome.epochs + 1])
    assert outcome.epoch == best[1]
    assert (outcome.valid_log_loss, outcome.log_loss, outcome.auc) == pytest.approx((best[0], best[2], best[3]), rel=1e-5)


def test_a_split_whose_test_set_has_one_label_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "rows", "criteo", rows=10)
    folder = encode(tmp_path / "rows", "criteo", 3, tmp_path / "cache", lambda blocks, _what: iter(blocks))

    with pytest.raises(DataError, match="1 rows of one label"):
        train(run(folder), folder)


def test_training_ends_when_it_has_not_been_better_for_as_long_as_the_patience(folder: Path) -> None:
    outcome = train(replace(run(folder), rate=3.0, epochs=50), folder)

    assert outcome.epochs == outcome.epoch + run(folder).patience


def test_a_network_whose_weights_are_no_longer_finite_is_worse_than_any(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outcome is that of the epoch before."""

    def broken(self: training._Trial) -> None:
        nn.init.constant_(self.network.network.bias, torch.nan)

    monkeypatch.setattr(training._Trial, "learn", broken)

    outcome = train(run(folder), folder)

    assert (outcome.epoch, outcome.epochs) == (0, run(folder).patience)
    assert outcome.log_loss > 0


def test_what_layers_do_is_what_looking_at_every_neuron_and_every_pair_shows(folder: Path) -> None:
    network = build(run(folder).spec(fields("criteo")[:3]))
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    embedded = torch.randn(20, 3, 4)
    nn.init.constant_(network.tower[1].bias, -4)  # type: ignore[arg-type]  # some outputs are all zeros

    with LayerWatcher(network.tower) as watcher:
        for part in torch.split(embedded, 6):
            network(part, torch.zeros(len(part), 3))
    network(embedded, torch.zeros(20, 3))  # outside the context nothing is watched

    seen = watcher.layers()
    x = embedded.flatten(1)
    for i, layer in enumerate(network.tower):
        x = torch.relu(layer(x)).detach()
        share = (x > 0).double().mean(0).numpy()
        np.testing.assert_allclose([of[i] for of in seen.active], np.quantile(share, [0.05, 0.5, 0.95]), atol=1e-5)
        pairs = [
            float(x[m] @ x[n] / (x[m].norm() * x[n].norm())) if x[m].any() and x[n].any() else 0.0
            for m in range(20)
            for n in range(20)
            if m != n
        ]
        assert seen.cosine[i] == pytest.approx(np.mean(pairs), abs=1e-5)
    assert not x.any(1).all()


def test_relu_whatever_it_reads_is_the_network_that_vanilla_is_after_relu(folder: Path) -> None:
    """So that one run stands for all three."""
    of_relu = [train(replace(run(folder, skip="relu"), skip_input=read), folder) for read in ("pre", "post")]

    vanilla = train(replace(run(folder, skip="vanilla"), skip_input="post"), folder)

    for outcome in of_relu:
        assert outcome.log_loss == pytest.approx(vanilla.log_loss, rel=1e-6)
