"""The start: what the first thousand examples cost, on recorded logs and where nothing but the click rate can be learned.

    python -m benchmarks.defaults.start [kuairand_pure.csv.gz kuairand.toml …]

prints the tables of benchmarks/defaults/start.md, of models with the settings that ``sml init`` writes. NE is the log loss over
the entropy of the click rate.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.__main__ import protocols
from benchmarks.accuracy.online import base_rate, sml
from benchmarks.accuracy.recorded import recorded, schedule
from model.encoding.features import Features
from model.online import OnlineModel
from model.settings import Field, Spec, TableSettings
from model.weights import sigmoid
from service.onboarding.settings_file import initial_model
from service.settings import Settings, load

RATES = (0.001, 0.01, 0.1, 0.5, 0.9)
FIRST, CALIBRATED, WINDOW = 1_000, 5_000, 1_000  # examples
FIELDS, VALUES = 10, 1_000
FALL, BEFORE = (0.12, 0.04), 20_000  # the rate that falls to a third, and after how many examples

Floats = NDArray[np.float64]


def loss(predictions: Floats, labels: NDArray[Any]) -> Floats:
    """Return the log loss of each example."""
    p = np.clip(predictions, 1e-9, 1 - 1e-9)
    return np.asarray(-np.log(np.where(labels > 0, p, 1 - p)))


def entropy(rate: float) -> float:
    """Return the log loss of who knows only the click rate."""
    return float(-rate * np.log(rate) - (1 - rate) * np.log(1 - rate))


def of_logs(path: Path, settings: Settings, seeds: int, rows: int = 5_000) -> None:
    """Print the NE of a log's first thousand examples of which a label is known, over several seeds, and that of the click rate so far."""
    log = recorded(path, settings, rows)
    for protocol in protocols(settings):
        known = schedule(log, protocol)
        first = np.flatnonzero(known > 0)[:FIRST]
        labels = log.labels[first]
        costs = [
            [loss(each[first], labels).mean() / entropy(labels.mean()) for each in run()]
            for run in (sml({}, log, known, range(seeds)), base_rate(log, known, ()))
        ]
        ours, counted = costs
        print(
            f"| {path.name} | {protocol.name} | {labels.mean():.1%} | {np.mean(ours):.3f} ± {np.std(ours):.3f} | {counted[0]:.3f} |",
            flush=True,
        )


def predicted(labels: NDArray[np.bool_], seed: int) -> Floats:
    """Return what is predicted for examples that tell nothing of their labels."""
    fields = tuple(Field(name=f"field {f}") for f in range(FIELDS))
    model = initial_model(FIELDS).model_copy(update={"seed": seed})
    online = OnlineModel(Spec(model=model, table=TableSettings(capacity=1 << 15), fields=fields, label_delay=50))
    values = np.random.default_rng([seed, 1]).integers(VALUES, size=(len(labels), FIELDS)) + 1 + (np.arange(FIELDS) << 40)
    keys = values.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    features = Features(keys.ravel(), np.arange(keys.size + 1), np.arange(len(labels)))
    return sigmoid(online.learn(features, labels.astype(np.float32)).logits.astype(np.float64))


def of_rate(rate: float, streams: int) -> None:
    """Print what the first thousand examples of streams of one click rate cost, above knowing it, and how calibrated the model is then."""
    ours = counted = known = 0.0
    ratios = []
    for seed in range(streams):
        labels = np.random.default_rng([seed, 0]).random(CALIBRATED + WINDOW) < rate
        predictions = predicted(labels, seed)
        clicks = np.cumsum(labels[: FIRST - 1])
        so_far = (np.concatenate([[0], clicks]) + 0.5) / (np.arange(FIRST) + 5.5)
        ours += loss(predictions[:FIRST], labels[:FIRST]).sum()
        counted += loss(so_far, labels[:FIRST]).sum()
        known += loss(np.full(FIRST, rate), labels[:FIRST]).sum()
        ratios.append(predictions[CALIBRATED:].mean() / rate)
    noise = ((1 - rate) / rate / CALIBRATED) ** 0.5
    print(
        f"| {rate:.1%} | {ours / known:.3f} | {counted / known:.3f} | {np.mean(ratios):.3f} ± {np.std(ratios):.3f} | ± {noise:.3f} |",
        flush=True,
    )


def of_a_fall(streams: int) -> None:
    """Print how calibrated the model is after the click rate has fallen to a third."""
    rates = np.where(np.arange(BEFORE + 4_000) < BEFORE, *FALL)
    parts = []
    for seed in range(streams):
        predictions = predicted(np.random.default_rng([seed, 0]).random(len(rates)) < rates, seed)[BEFORE:]
        parts.append(predictions.reshape(4, -1).mean(1) / FALL[1])
    print(f"after the fall, by thousands: {', '.join(f'{each:.3f}' for each in np.mean(parts, 0))}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*", help="recorded logs, each followed by its settings: FILE sml.toml …")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--streams", type=int, default=20)
    options = parser.parse_args()
    for path, config in zip(options.files[::2], options.files[1::2], strict=True):
        of_logs(path, load(config), options.seeds)
    for rate in RATES:
        of_rate(rate, options.streams)
    of_a_fall(options.streams)
