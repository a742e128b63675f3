"""Which pairs of fields `sml init` writes, and what that saves, on made-up streams of which it is known which fields do.

    pip install vowpalwabbit
    python -m benchmarks.defaults.crosses --seeds 10

Each example is predicted right before it is learned. In each stream ten fields of 5 to 5,000 values have an effect each, and beside that

- ``alone``: nothing;
- ``pairs``: two pairs of fields, of 160 and 600 pairs of values, have an effect of their own;
- ``factors``: each two fields have one, the product of four latent factors;
- ``either``: a click is likelier if exactly one of two fields has an odd value;

and ``history``, whose clicks are likelier the more of a person's last ten categories are the item's, and ``site``, the simulated site, a
fifth of whose visitors' candidates are shown.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.linear import vowpal_wabbit
from benchmarks.accuracy.recorded import recorded
from benchmarks.experiments.regret import RATE, Turnover
from service.commands.evaluation.evaluate import USUAL, evaluate
from service.commands.init import init
from service.settings import load
from stream.settings import DataSettings

ROWS = 60_000
SIZES = (5, 8, 12, 20, 30, 50, 100, 200, 1_000, 5_000)
PAIRS = ((1, 3), (2, 5))
SHOWN = 4  # of the twenty candidates of a visit of the site

Row = dict[str, Any]


def made_up(kind: str, seed: int) -> Iterator[Row]:
    """Yield the rows of a stream with its labels."""
    random = np.random.default_rng(seed)
    values = [np.minimum((random.pareto(1.2, ROWS) * size / 8).astype(int), size - 1) for size in SIZES]
    logits = -1.6 + sum(random.normal(0, 0.35, size)[value] for size, value in zip(SIZES, values, strict=True))
    if kind == "pairs":
        logits += sum(random.normal(0, 0.8, (SIZES[a], SIZES[b]))[values[a], values[b]] for a, b in PAIRS)
    elif kind == "factors":
        factors = [random.normal(0, 0.35, (size, 4))[value] for size, value in zip(SIZES, values, strict=True)]
        logits += 0.25 * (np.sum(factors, axis=0) ** 2 - np.sum(np.square(factors), axis=0)).sum(axis=1)
    elif kind == "either":
        logits += np.where((values[0] + values[1]) % 2, 1.0, -1.0)
    clicked = random.random(ROWS) < 1 / (1 + np.exp(-logits))
    for n in range(ROWS):
        yield {f"f{field}": f"v{value[n]}" for field, value in enumerate(values)} | {"click": int(clicked[n])}


def history(seed: int) -> Iterator[Row]:
    """Yield items of 30 categories, each shown beside the last ten categories of one of 5,000 persons, as one text."""
    random = np.random.default_rng(seed)
    tastes, effects = random.dirichlet(np.full(30, 0.2), 5_000), random.normal(0, 0.4, 1_200)
    for _ in range(ROWS):
        item, last = int(random.integers(len(effects))), random.choice(30, 10, p=tastes[random.integers(len(tastes))])
        logit = -3.4 + effects[item] + 4 * np.mean(last == item % 30) ** 0.5
        clicked = random.random() < 1 / (1 + np.exp(-logit))
        yield {"item": f"i{item}", "category": f"c{item % 30}", "history": "|".join(f"c{each}" for each in last), "click": int(clicked)}


def site(seed: int) -> Iterator[Row]:
    """Yield what visitors of the simulated site are shown."""
    random = np.random.default_rng(seed)
    for visit in Turnover(seed, RATE).visits(ROWS // SHOWN):
        for shown in random.choice(len(visit.candidates), SHOWN, replace=False):
            yield visit.context | visit.candidates[shown] | {"click": int(visit.clicked[shown])}


STREAMS: dict[str, Callable[[int], Iterator[Row]]] = {
    **{kind: partial(made_up, kind) for kind in ("alone", "pairs", "factors", "either")},
    "history": history,
    "site": site,
}


def compared(rows: Iterator[Row], folder: Path) -> tuple[list[str], list[float]]:
    """Return which pairs are written, and the log loss without, with them, and of Vowpal Wabbit without and with all pairs."""
    path, settings_path = folder / "clicks.jsonl", folder / "sml.toml"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    init(path, DataSettings(label="click"), settings_path, every=False)
    settings = load(settings_path)
    without = settings.model_copy(update={"field": tuple(field for field in settings.field if not field.of)})
    ours = [float(evaluate(path, each, USUAL)["log_loss"]) for each in (without, settings)]
    log = recorded(path, without)
    theirs = []
    for options in ("", "-q ::"):
        predicted = vowpal_wabbit(options, log, np.arange(len(log)), ())()[0].clip(1e-6, 1 - 1e-6)
        theirs.append(float(-np.log(np.where(log.labels > 0, predicted, 1 - predicted)).mean()))
    return [field.name for field in settings.field if field.of], ours + theirs


def main() -> None:
    """Print a row for each stream."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=10)
    seeds = parser.parse_args().seeds
    print("| stream | written, in how many of the seeds | without | with | | Vowpal Wabbit | -q :: |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for name, stream in STREAMS.items():
        written: dict[str, int] = {}
        losses = []
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as folder:
                found, loss = compared(stream(seed), Path(folder))
            losses.append(loss)
            for pair in found:
                written[pair] = written.get(pair, 0) + 1
        of_seeds = np.array(losses)
        saved = of_seeds[:, 1] / of_seeds[:, 0] - 1
        error = saved.std(ddof=1) / np.sqrt(seeds) if seeds > 1 else 0.0
        without, with_them, *theirs = (f"{loss:.4f}" for loss in of_seeds.mean(axis=0))
        told = ", ".join(f"{pair} {count}" for pair, count in written.items()) or "nothing"
        print(f"| {name} | {told} | {without} | {with_them} | {saved.mean():+.1%} ± {error:.1%} | {' | '.join(theirs)} |", flush=True)


if __name__ == "__main__":
    main()
