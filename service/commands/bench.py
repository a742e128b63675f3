"""``sml bench step``: how fast one example is learned, beside eager PyTorch and beside the memory's own speed.

Both sides learn the same random examples on one thread, in turn, several times; the figures are medians.
"""

import statistics
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

try:
    import torch
    import torch.nn.functional as F  # noqa: N812
    from torch import nn
except ModuleNotFoundError as error:
    raise ImportError("the eager side needs PyTorch: pip install 'sml-online[torch]'") from error

from model.dnn import DNN, bind
from model.features import Features
from model.online import OnlineModel
from model.settings import Field, ModelSettings, Spec
from model.target import kernel

FIELDS, VALUES, ROWS = 39, 25_000, 1 << 20
SIZES = (((128, 64, 32), 8), ((256, 128, 64), 16), ((1024, 512, 256), 16))
FLOAT = 4  # bytes


class StepSpeed(NamedTuple):
    """One network's line of ``sml bench step``."""

    network: str
    hidden: tuple[int, ...]
    embedding: int
    skip: str
    examples_per_second: float
    eager_examples_per_second: float
    ratio: float  # of the two, measured in turn
    bytes_bound_ratio: float  # time of a step ÷ time that its bytes take at the speed of a triad of the same footprint


def steps(repeats: int) -> Iterator[StepSpeed]:
    """Measure every size, with and without skip terms."""
    torch.set_num_threads(1)
    for hidden, embedding in SIZES:
        for skip in ("meta_tanh", "none"):
            model = ModelSettings(hidden=hidden, embedding=embedding, skip=skip)
            yield measure(Spec(model=model, fields=tuple(Field(name=f"C{f}") for f in range(FIELDS))), repeats)


def measure(spec: Spec, repeats: int) -> StepSpeed:
    """Let both sides learn in turn."""
    few = max(spec.model.hidden) > 512  # noqa: PLR2004
    fast, eager = _Fast(spec, 1000 if few else 10_000), Eager(spec, 60 if few else 400)
    fast.learn()
    eager.learn()
    ours, theirs = [], []
    for _ in range(repeats):
        ours.append(fast.learn())
        theirs.append(eager.learn())
    speed = statistics.median(ours)
    moved = step_bytes(fast.model)
    bound = triad_bandwidth(moved, repeats) / moved  # steps a second
    return StepSpeed(
        network=spec.model.network,
        hidden=spec.model.hidden,
        embedding=spec.model.embedding,
        skip=spec.model.skip,
        examples_per_second=round(speed),
        eager_examples_per_second=round(statistics.median(theirs)),
        ratio=round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 1),
        bytes_bound_ratio=round(float(bound / speed), 2),
    )


class _Fast:
    """The kernel's side."""

    def __init__(self, spec: Spec, examples: int) -> None:
        random = np.random.default_rng(0)
        values = random.integers(VALUES, size=(examples, FIELDS)) + 1 + (np.arange(FIELDS) << 40)
        keys = values.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        self.features = Features(keys.ravel(), np.arange(keys.size + 1))
        self.labels = random.random(examples) < 0.2  # noqa: PLR2004  a click rate
        self.model = OnlineModel(spec)

    def learn(self) -> float:
        """Learn every example once; give examples per second."""
        start = time.perf_counter()
        self.model.learn(self.features, self.labels)
        return len(self.labels) / (time.perf_counter() - start)


class Eager:
    """The same network, its embeddings sparse, Adagrad fused: what a PyTorch loop does at batch size one."""

    def __init__(self, spec: Spec, examples: int) -> None:
        self.embedding = nn.Embedding(ROWS, spec.model.embedding, sparse=True)
        self.wide = nn.Embedding(ROWS, 1, sparse=True)
        self.network = DNN(spec)
        model = OnlineModel(spec).weights
        bind(self.network, model.layout.named(model.dense))
        settings = spec.model
        self.optimizers = [
            torch.optim.Adagrad(
                self.network.parameters(), settings.tower_rate, initial_accumulator_value=settings.tower_accumulator, fused=True
            ),
            torch.optim.Adagrad(
                [*self.embedding.parameters(), *self.wide.parameters()],
                settings.embedding_rate,
                initial_accumulator_value=settings.embedding_accumulator,
            ),
        ]
        generator = torch.Generator().manual_seed(0)
        self.ids = torch.randint(ROWS, (examples, FIELDS), generator=generator)
        self.labels = (torch.rand(examples, generator=generator) < 0.2).float()  # noqa: PLR2004  a click rate

    def learn(self) -> float:
        """Learn every example once; give examples per second."""
        start = time.perf_counter()
        for n in range(len(self.labels)):
            ids = self.ids[n : n + 1]
            loss = F.binary_cross_entropy_with_logits(self.network(self.embedding(ids), self.wide(ids)[:, :, 0]), self.labels[n : n + 1])
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            for optimizer in self.optimizers:
                optimizer.step()
        return len(self.labels) / (time.perf_counter() - start)


def step_bytes(model: OnlineModel) -> float:
    """The bytes that a step must move.

    A weight in a row whose input is not silenced is read on the way forward, read and written on the way back;
    a row of the table, with its accumulators, is read and written.
    """
    named = model.weights.layout.named(model.weights.dense)
    x = model.weights.rows[model.weights.keys != 0][: 64 * FIELDS, :-1].reshape(64, -1)
    weights = 0.0
    for layer, width in enumerate(model.spec.model.hidden):
        active = (x != 0).mean()
        z = x @ named[f"tower.{layer}.weight"] + named[f"tower.{layer}.bias"]
        weights += active * x.shape[1] * width
        if model.spec.model.skip != "none":
            weights += width * width
        x = np.maximum(z, 0)
    return FLOAT * (3 * weights + 4 * FIELDS * (model.spec.model.embedding + 1))


def triad_bandwidth(footprint: float, repeats: int) -> float:
    """Bytes a second of ``a = b + s c`` (McCalpin's STREAM) over arrays of ``footprint`` bytes together."""
    size = max(1024, int(footprint / 3 / FLOAT))
    a, b, c = (np.ones(size, np.float32) for _ in range(3))
    rounds = max(1, int(2e8 / footprint))
    _triad(a, b, c, 1)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        _triad(a, b, c, rounds)
        seconds.append(time.perf_counter() - start)
    return 3 * FLOAT * size * rounds / statistics.median(seconds)


@kernel
def _triad(a: NDArray[Any], b: NDArray[Any], c: NDArray[Any], rounds: int) -> None:
    for r in range(rounds):
        s = a.dtype.type(1) + a.dtype.type(r) * a.dtype.type(1e-9)
        for k in range(a.shape[0]):
            a[k] = b[k] + s * c[k]
