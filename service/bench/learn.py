"""``sml bench learn``: from rows to learned weights, from a file and through the log, beside other learners on the same rows.

Every learner starts from the form that it reads best: ours from the file and from the records of the log, River from dictionaries in
memory, Vowpal Wabbit from a file of its own text, PyTorch from the keys' numbers. Times are processor time, so that other work on the
machine counts little. A learner that is not installed is skipped.
"""

import gc
import math
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from prometheus_client import CollectorRegistry

from model.encoding.features import Encoder
from model.settings import Spec
from service.commands.compile import compile_kernels
from service.commands.evaluation.evaluate import Evaluation, load_kernels
from service.settings import Settings
from stream.ahead import ahead
from stream.files.columns import read_blocks
from stream.files.layout import Logged
from stream.files.rows import read
from stream.inputs.event_time import TimeRule
from stream.learn.learner import Learner
from stream.learn.metrics import LearnerMetrics
from stream.log.connect import connect
from stream.log.contract import Log
from stream.log.topics import Topics, create
from stream.replay import Replay
from stream.settings import LearnSettings

EAGER_ROWS = 2_000  # PyTorch learns no more than these
LOSS_FLOOR = 1e-15


Learned: TypeAlias = tuple[int, float | None]  # examples, and their log loss
Other: TypeAlias = Callable[[Spec, Sequence[Logged]], Callable[[], Learned]]
"""Another learner: prepares rows in the form that it reads best, and returns the function that learns them."""


class LearnSpeed(NamedTuple):
    """One learner's line of ``sml bench learn``."""

    learner: str
    examples: int
    examples_per_second: int  # of the processor's time
    wall_examples_per_second: int
    log_loss: float | None  # each example predicted before it was learned; None where fewer were learned
    ratio: float = 1.0  # our speed by file ÷ this one's


def learners(path: Path, settings: Settings, rows: int, url: str | None) -> Iterator[LearnSpeed]:
    """Yield the speed of each learner on the first rows of a file.

    Args:
        path: The file.
        settings: Of the model, and how the file is read.
        rows: How many rows; the block of rows that the last of them is in is learned whole.
        url: The log to learn through; None: a new SQLite file.
    """
    compile_kernels(settings.model.network)
    load_kernels(settings.spec)
    _by_file(path, settings, 1)  # what it imports
    ours = _timed("file → weights", lambda: _by_file(path, settings, rows))
    yield ours
    logged = list(islice(read(path, settings.data), ours.examples))
    with tempfile.TemporaryDirectory() as folder:
        url = url or f"sqlite:///{folder}/log.db"
        _by_log(url, f"{folder}/first", settings, logged[:100])  # imports and kernels
        gc.freeze()  # the rows, kept for the others: a learner holds none, and its garbage collector does not walk over them
        yield _with_ratio(ours, _by_log(url, folder, settings, logged))
    for name, prepare in OTHERS.items():
        try:
            yield _with_ratio(ours, _timed(name, prepare(settings.spec, logged)))
        except ModuleNotFoundError:
            continue


def _with_ratio(ours: LearnSpeed, other: LearnSpeed) -> LearnSpeed:
    return other._replace(ratio=round(ours.examples_per_second / other.examples_per_second, 1))


def _timed(name: str, learn: Callable[[], Learned]) -> LearnSpeed:
    """Time a learner."""
    wall, processor = time.perf_counter(), time.process_time()
    examples, loss = learn()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return LearnSpeed(name, examples, round(examples / processor), round(examples / wall), loss and round(loss, 5))


def _by_file(path: Path, settings: Settings, rows: int) -> Learned:
    evaluation = Evaluation(settings.spec)
    learned = 0
    for block in ahead(map(evaluation.encoded, read_blocks(path, settings.data, [field.name for field in settings.spec.fields]))):
        evaluation.learn(block)
        learned += len(block)
        if learned >= rows:
            break
    return evaluation.scores.total()[:2]


def _by_log(url: str, folder: str, settings: Settings, logged: Sequence[Logged]) -> LearnSpeed:
    """Write the rows as examples to new topics, then learn and publish them; only the learner is timed."""
    topics = Topics(f"bench-{secrets.token_hex(4)}")
    with connect(url) as log:
        create(log, topics, 1)
        for _ in Replay(log, topics, settings.join, "examples", None).run(logged, lambda _: False):
            pass
        return _timed(f"{url.partition(':')[0]} → published weights", lambda: _learn_log(log, topics, settings, folder))


def _learn_log(log: Log, topics: Topics, settings: Settings, folder: str) -> Learned:
    registry = CollectorRegistry()
    loop = LearnSettings(directory=f"{folder}/checkpoints", publish_every=settings.learn.publish_every)
    learner = Learner(log, topics, settings.spec, loop, LearnerMetrics(registry), times=TimeRule.of(settings.join))
    learner.run(lambda: False, until_caught_up=True)
    loss = registry.get_sample_value("sml_learner_log_loss", {"over": "total"})
    return (learner.last.version.examples if learner.last else 0), loss


def _adagrad() -> Any:
    from river import linear_model, optim

    return linear_model.LogisticRegression(optim.AdaGrad(0.1))


def _ftrl() -> Any:
    from river import linear_model, optim

    return linear_model.LogisticRegression(optim.FTRLProximal(alpha=0.1))


def _factorisation_machine() -> Any:
    from river import facto, optim

    return facto.FMClassifier(8, optim.AdaGrad(0.1), optim.AdaGrad(0.05), seed=0)


def _river(new: Callable[[], Any]) -> Other:
    def prepared(_: Spec, logged: Sequence[Logged]) -> Callable[[], tuple[int, float]]:
        model = new()
        examples = [({f"{name}={value}": 1.0 for name, value in row.features.items()}, row.label) for row in logged]

        def learn() -> tuple[int, float]:
            loss = 0.0
            for x, y in examples:
                loss += _loss(model.predict_proba_one(x)[True], y)
                model.learn_one(x, bool(y))
            return len(examples), loss / len(examples)

        return learn

    return prepared


def _vowpal_wabbit(more: str) -> Other:
    def text(value: Any) -> str:
        return str(value).translate({ord(mark): "_" for mark in ": |\n\r\t"})

    def prepared(_: Spec, logged: Sequence[Logged]) -> Callable[[], tuple[int, float]]:
        from vowpalwabbit import Workspace

        lines = [f"{2 * row.label - 1} |f " + " ".join(f"{text(n)}={text(v)}" for n, v in row.features.items()) for row in logged]
        with tempfile.NamedTemporaryFile("w", suffix=".vw", delete=False) as file:
            file.write("\n".join(lines))

        def learn() -> tuple[int, float]:
            model = Workspace(f"--loss_function logistic --link logistic -b 22 --quiet --data {file.name} {more}")
            model.finish()
            Path(file.name).unlink()
            return len(lines), model.get_sum_loss() / len(lines)

        return learn

    return prepared


def _eager(spec: Spec, logged: Sequence[Logged]) -> Callable[[], tuple[int, None]]:
    import torch

    from service.bench.step import ROWS, Eager

    torch.set_num_threads(1)
    few = logged[:EAGER_ROWS]
    (keys, starts, _), _ = Encoder(spec.fields).encode([row.features for row in few], [row.time for row in few])
    eager = Eager(spec, len(few))
    first = (keys[starts[:-1]] % np.uint64(ROWS)).astype(np.int64)  # of several values, the first
    eager.ids = torch.from_numpy(first.reshape(len(few), -1))
    eager.labels = torch.tensor([float(row.label) for row in few])

    def learn() -> tuple[int, None]:
        eager.learn()
        return len(few), None

    return learn


OTHERS: dict[str, Other] = {
    "River, logistic regression, Adagrad": _river(_adagrad),
    "River, logistic regression, FTRL": _river(_ftrl),
    "River, factorisation machine": _river(_factorisation_machine),
    "Vowpal Wabbit": _vowpal_wabbit(""),
    "Vowpal Wabbit, FTRL": _vowpal_wabbit("--ftrl"),
    "PyTorch, eager": _eager,
}


def _loss(probability: float, label: int) -> float:
    return -math.log(max(LOSS_FLOOR, probability if label else 1 - probability))
