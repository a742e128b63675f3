"""``sml bench step``: the time to learn one example, beside eager PyTorch and beside the bandwidth of the memory.

Both sides learn random examples on one thread, in turn, several times; the figures are medians of processor time, so that
other processes disturb them as little as possible.
"""

import math
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

from model.encoding.features import Features
from model.kernels.target import kernel
from model.networks.build import build
from model.networks.dnn import bind
from model.online import OnlineModel
from model.registry import NETWORKS
from model.settings import Field, ModelSettings, Spec, TableSettings

torch.sparse.check_sparse_tensor_invariants.disable()  # type: ignore[no-untyped-call]  # else the first sparse gradient warns

FIELDS, VALUES, ROWS = 39, 25_000, 1 << 20
SIZES = (((128, 64, 32), 8), ((256, 128, 64), 16), ((1024, 512, 256), 16))
FLOAT, LINE = 4, 64  # bytes of a number, and of a cache line, which the keys of a set fill


class StepSpeed(NamedTuple):
    """One network's line of ``sml bench step``."""

    network: str
    hidden: str
    embedding: int
    skip: str
    examples_per_second: int
    eager_per_second: int
    times_eager: float  # the median of the ratios of the two, measured in turn
    step_us: float
    bytes_us: float  # the bytes that a step must move ÷ the bandwidth of an update of the same footprint
    times_bytes: float
    most_bytes: str  # the part that moves most, and its share


class Traffic(NamedTuple):
    """What a step touches and moves of a part of the model."""

    touched: float  # bytes
    moved: float  # bytes: once a read, once a write


def steps(repeats: int) -> Iterator[StepSpeed]:
    """Measure the tower in every size, with and without skip terms, then the other networks in the default size."""
    torch.set_num_threads(1)
    for hidden, embedding in SIZES:
        for skip in ("meta_tanh", "none"):
            yield measure(spec_of({"hidden": hidden, "embedding": embedding, "skip": skip}), repeats)
    for network in list(NETWORKS)[1:]:
        yield measure(spec_of({"network": network}), repeats)


def spec_of(model: dict[str, Any], fields: int = FIELDS, rows: int = ROWS) -> Spec:
    """Return a model of so many categorical fields, with a table of so many rows."""
    return Spec(
        model=ModelSettings.model_validate(model),
        table=TableSettings(capacity=rows),
        fields=tuple(Field(name=f"C{f}") for f in range(fields)),
    )


def measure(spec: Spec, repeats: int) -> StepSpeed:
    """Run both sides in turn, and a plain update between them."""
    large = max(spec.model.hidden) > 512  # noqa: PLR2004
    fast, eager = Fast(spec, 1000 if large else 10_000), Eager(spec, 60 if large else 300)
    fast.learn()
    eager.learn()
    parts = traffic(fast.model)
    touched, moved = (sum(of_part) for of_part in zip(*parts.values(), strict=True))
    update = Update(touched)
    ours, theirs, bandwidths = [], [], []
    for _ in range(repeats):
        ours.append(fast.learn())
        bandwidths.append(update.bandwidth())
        theirs.append(eager.learn())
    step, bytes_bound = 1 / statistics.median(ours), moved / statistics.median(bandwidths)
    most = max(parts, key=lambda part: parts[part].moved)
    return StepSpeed(
        network=spec.model.network,
        hidden="-".join(map(str, spec.model.hidden)),
        embedding=spec.model.embedding,
        skip=spec.model.skip,
        examples_per_second=round(1 / step),
        eager_per_second=round(statistics.median(theirs)),
        times_eager=round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 1),
        step_us=round(1e6 * step, 1),
        bytes_us=round(1e6 * bytes_bound, 1),
        times_bytes=round(step / bytes_bound, 2),
        most_bytes=f"{most} {parts[most].moved / moved:.0%}",
    )


class Fast:
    """The kernels' side, with random examples; each field has so many values."""

    def __init__(self, spec: Spec, examples: int, values_of_field: int = VALUES) -> None:
        random = np.random.default_rng(0)
        fields = len(spec.fields)
        values = random.integers(values_of_field, size=(examples, fields)) + 1 + (np.arange(fields) << 40)
        keys = values.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        self.features = Features(keys.ravel(), np.arange(keys.size + 1))
        self.labels = random.random(examples) < 0.2  # noqa: PLR2004  a click rate
        self.model = OnlineModel(spec)

    def learn(self) -> float:
        """Learn every example once, and return the examples a second of processor time."""
        start = time.thread_time()
        self.model.learn(self.features, self.labels)
        return len(self.labels) / (time.thread_time() - start)


class Eager:
    """The PyTorch side: the same network at batch size one, with sparse embeddings and fused Adagrad."""

    def __init__(self, spec: Spec, examples: int) -> None:
        self.embedding = nn.Embedding(ROWS, spec.model.embedding, sparse=True)
        self.wide = nn.Embedding(ROWS, 1, sparse=True)
        self.network = build(spec)
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
        self.ids = torch.randint(ROWS, (examples, len(spec.fields)), generator=generator)
        self.labels = (torch.rand(examples, generator=generator) < 0.2).float()  # noqa: PLR2004  a click rate

    def learn(self) -> float:
        """Learn every example once, and return the examples a second of processor time."""
        start = time.thread_time()
        for n in range(len(self.labels)):
            ids = self.ids[n : n + 1]
            loss = F.binary_cross_entropy_with_logits(self.network(self.embedding(ids), self.wide(ids)[:, :, 0]), self.labels[n : n + 1])
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            for optimizer in self.optimizers:
                optimizer.step()
        return len(self.labels) / (time.thread_time() - start)


def traffic(model: OnlineModel) -> dict[str, Traffic]:
    """Return what each part of a step touches and moves.

    A weight whose input is not silenced is read on the way forward, read and written on the way back; a meta learner's, which passes
    nothing back, is read and written once. An accumulator, and a row of the table, is read and written once. Vectors of an
    example, which stay near, count nothing.
    """
    shares = _shares(model)
    fields = len(model.spec.fields)
    rows, keys = FLOAT * 2 * fields * (model.spec.model.embedding + 1), LINE * fields
    parts = {"rows": Traffic(rows + keys, 2 * rows + keys)}
    for name, parameter in model.weights.layout.parameters.items():
        if name == "defaults":
            continue
        part, *rest = name.split(".")
        part = part if rest else "tower"
        weights = math.prod(parameter.shape) * (shares[int(rest[0])] if name.endswith("weight") and part == "tower" else 1)
        accumulators, visits = parameter.shape[0], 2 if name.endswith("meta") else 3
        before = parts.get(part, Traffic(0, 0))
        parts[part] = Traffic(
            before.touched + FLOAT * (weights + accumulators), before.moved + FLOAT * (visits * weights + 2 * accumulators)
        )
    return parts


def _shares(model: OnlineModel) -> list[float]:
    """Return the share of each layer's inputs that is not silenced, over the values that the table holds."""
    named = model.weights.layout.named(model.weights.dense)
    width = named["tower.0.weight"].shape[0]
    embeddings = model.weights.rows[model.weights.keys != 0, :-1].ravel()
    x = embeddings[: min(64, len(embeddings) // width) * width].reshape(-1, width)
    shares = []
    for layer in range(len(model.spec.model.hidden)):
        shares.append(float((x != 0).mean()))
        x = np.maximum(x @ named[f"tower.{layer}.weight"] + named[f"tower.{layer}.bias"], 0)
    return shares


class Update:
    """``a += s b``, as a step updates its weights, on two arrays of ``footprint`` bytes together: two reads and a write."""

    def __init__(self, footprint: float) -> None:
        size = max(1024, int(footprint / 2 / FLOAT))
        self.arrays = np.ones(size, np.float32), np.ones(size, np.float32)
        self.rounds = max(1, int(4e8 / footprint))
        self.moved = 3 * FLOAT * size * self.rounds
        _update(*self.arrays, 1)

    def bandwidth(self) -> float:
        """Return the bytes moved a second."""
        start = time.thread_time()
        _update(*self.arrays, self.rounds)
        return self.moved / (time.thread_time() - start)


@kernel
def _update(a: NDArray[Any], b: NDArray[Any], rounds: int) -> None:
    for r in range(rounds):
        s = a.dtype.type(r) * a.dtype.type(1e-9)
        for k in range(a.shape[0]):
            a[k] += s * b[k]
