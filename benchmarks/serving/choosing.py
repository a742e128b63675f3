"""What choosing takes beside predicting, by how it explores: the table of benchmarks/serving/predict.md.

    python -m benchmarks.serving.choosing

Requests of 20 fields, 10 of the context and 10 of each candidate; medians of thread time, the three in turn.
"""

import random
import statistics
import time
from collections.abc import Callable

import numpy as np

from model.encoding.features import Encoder
from model.online import OnlineModel
from model.settings import Field, ModelSettings, Spec, TableSettings
from service.api.choice import epsilon_greedy, thompson

FIELDS, OF_CONTEXT, VALUES, LEARNED = 20, 10, 2_000, 20_000
SIZES = ((10, 1), (100, 1), (100, 10), (100, 50), (1_000, 1), (1_000, 10), (1_000, 500))  # candidates, chosen
REPEATS = 51


def milliseconds(work: Callable[[], object]) -> float:
    """Return the time of this thread that a piece of work takes."""
    start = time.thread_time()
    work()
    return 1000 * (time.thread_time() - start)


def main() -> None:
    """Measure, and print a table in Markdown."""
    draw, chance = np.random.default_rng(0), random.Random(0)
    fields = tuple(Field(name=f"field {n}") for n in range(FIELDS))
    model = OnlineModel(
        Spec(model=ModelSettings(records=True, base_rate=True), table=TableSettings(capacity=65_536), fields=fields, label_delay=1000)
    )
    encoder = Encoder(fields)
    values = draw.integers(VALUES, size=(LEARNED, FIELDS)).tolist()
    learned = [{field.name: value for field, value in zip(fields, row, strict=True)} for row in values]
    model.learn(encoder.encode(learned, list(range(LEARNED))).features, (draw.random(LEARNED) < 0.2).astype(np.float32))  # noqa: PLR2004
    print("| candidates | chosen | predict | choose, epsilon | choose, thompson |\n| ---: | ---: | ---: | ---: | ---: |")
    for candidates, count in SIZES:
        context = {f"field {n}": learned[0][f"field {n}"] for n in range(OF_CONTEXT)}
        page = encoder.encode([learned[n] | context for n in range(candidates)], [LEARNED * 1000] * candidates).features
        probabilities = model.weights.probabilities(page)
        listed = probabilities.tolist()

        def by_thompson() -> None:
            thompson(listed, model.weights.spreads(page, probabilities).tolist(), count, chance)  # noqa: B023 - called below

        ways: tuple[Callable[[], object], ...] = (
            lambda: model.weights.probabilities(page),  # noqa: B023
            lambda: epsilon_greedy(listed, count, 0.05, chance),  # noqa: B023
            by_thompson,
        )
        for way in ways:
            way()
        runs = [[milliseconds(way) for way in ways] for _ in range(REPEATS)]
        print(f"| {candidates:,} | {count} | {' | '.join(f'{statistics.median(each):.3f}' for each in zip(*runs, strict=True))} |")


if __name__ == "__main__":
    main()
