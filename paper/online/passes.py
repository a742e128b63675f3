"""One pass of one network over one stream, each example predicted, then learned, in a step of its own; and the pass's outcome.

Shapes: N examples, P probes, F fields, d width of an embedding.
"""

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from model.encoding.features import Features
from model.evaluation.progressive import predict_then_learn
from model.networks.build import build
from model.networks.dnn import bind
from model.online import OnlineModel
from model.settings import Field, Spec, TableSettings
from model.weights import Weights
from paper.layers import QUANTILES, Layers, LayerWatcher
from paper.online.bootstrap import Tally, tally
from paper.online.stream import Stream
from paper.published import SML
from paper.runs import Run

CAPACITY = 1 << 18  # rows of the table: more than any sample has values
PROBES = 256  # examples on which the layers are watched


@dataclass(frozen=True)
class Pass(Run):
    """One pass over a stream; its seed is of the initial weights, and of the order where the sample has none.

    Attributes:
        tower_rate: Adagrad's, of the tower.
        tower_accumulator: where its accumulators start.
        prefix: only the beginning is learned, and scored, to choose settings by.
    """

    tower_rate: float
    tower_accumulator: float
    prefix: bool = False

    @property
    def probed(self) -> bool:
        """Return whether the layers are watched: before the first example, half way and at the end."""
        return self.network == "dnn" and self.skip in ("none", SML) and not self.prefix

    def spec(self, fields: tuple[Field, ...]) -> Spec:
        """Return the model as :mod:`model` describes it."""
        return Spec(model=self.model(), table=TableSettings(capacity=CAPACITY), fields=fields)


@dataclass(frozen=True)
class Moment:
    """The outputs of a network on the probes at one moment.

    Attributes:
        examples: how many were learned so far.
        logit: its 5 %, 25 %, 50 %, 75 % and 95 % quantile.
        layers: how often neurons are active, and how alike two probes look to a layer.
    """

    examples: int
    logit: list[float]
    layers: Layers


@dataclass(frozen=True)
class Outcome:
    """The outcome of a pass.

    Attributes:
        blocks: predictions by block of time, or of rows.
        users: predictions by group of users, if users are known.
        moments: of the probes, if there were any.
        excluded: number of examples whose step was not finite: neither learned nor scored.
        weights_digest: of the weights at the end.
        seconds: how long it took.
    """

    blocks: Tally
    users: Tally | None
    moments: list[Moment]
    excluded: int
    weights_digest: str
    seconds: float

    @property
    def logit(self) -> list[float]:
        """Return the quantiles of the logit at the end, on the probes."""
        return self.moments[-1].logit


class Predicted(NamedTuple):
    """The logit of each example, predicted before it was learned, and the moments of the probes."""

    logits: NDArray[np.float32]  # (N,); NaN where the step was not finite
    moments: list[Moment]
    weights_digest: str


def learn_once(run: Pass, stream: Stream) -> Outcome:
    """Learn the stream once, and score what is not set aside."""
    start = time.perf_counter()
    stream = stream.in_order(run.seed)
    first, end = (0, stream.scored) if run.prefix else (stream.scored, len(stream.labels))
    logits, moments, digest = learn_before(run, stream, end)
    finite = np.flatnonzero(np.isfinite(logits[first:])) + first
    blocks = np.zeros(len(stream.labels), np.int64) if run.prefix else stream.blocks
    users = stream.users if len(stream.users) and not run.prefix else None
    return Outcome(
        blocks=tally(logits[finite], stream.labels[finite], blocks[finite]),
        users=tally(logits[finite], stream.labels[finite], users[finite]) if users is not None else None,
        moments=moments,
        excluded=end - first - len(finite),
        weights_digest=digest,
        seconds=round(time.perf_counter() - start, 2),
    )


def learn_before(run: Pass, stream: Stream, end: int) -> Predicted:
    """Predict each example before index ``end``, then learn it, in order."""
    model = OnlineModel(run.spec(stream.fields))
    probes = probes_of(stream) if run.probed else None
    logits = np.empty(end, np.float32)
    moments = [watch(model, probes)] if probes else []
    width = len(stream.fields)
    for a, b in ((0, end // 2), (end // 2, end)):
        features = Features(stream.features.keys, stream.features.starts[a * width : b * width + 1])
        logits[a:b] = predict_then_learn(model, features, stream.labels[a:b]).logits
        if probes:
            moments.append(watch(model, probes))
    return Predicted(logits, moments, model.digest())


def probes_of(stream: Stream) -> Features:
    """Return up to ``PROBES`` examples, evenly spread over those that are scored."""
    indices = np.linspace(stream.scored, len(stream.labels) - 1, min(PROBES, len(stream.labels) - stream.scored))
    return stream.take(indices.astype(np.int64)).features


def watch(model: OnlineModel, probes: Features) -> Moment:
    """Predict the probes by the torch definition of the network, without learning them, and watch its layers."""
    network = build(model.spec)
    bind(network, model.weights.layout.named(model.weights.dense))
    with torch.no_grad(), LayerWatcher(network.tower) as watcher:
        logits = network(*embed(model.weights, probes))
    quantiles = np.quantile(logits.numpy(), QUANTILES)
    return Moment(model.examples, np.round(quantiles, 4).tolist(), watcher.layers())


def embed(weights: Weights, features: Features) -> tuple[Tensor, Tensor]:
    """Return the embedding of each field, ``(P, F, d)``, and its wide weight, ``(P, F)``: the means over its values."""
    fields = len(weights.spec.fields)
    defaults = weights.layout.named(weights.dense)["defaults"]  # (F, d)
    unseen = np.column_stack([defaults, np.zeros(fields, defaults.dtype)])  # (F, d + 1)
    starts = features.starts - features.starts[0]
    keys = features.keys[features.starts[0] : features.starts[-1]]
    order = np.argsort(weights.keys)
    rows = order[np.searchsorted(weights.keys, keys, sorter=order).clip(max=len(order) - 1)]
    field = np.repeat(np.arange(len(starts) - 1) % fields, np.diff(starts))
    rows = np.where(weights.keys[rows] == keys, rows, len(order) + field)  # those of the unseen come after the others
    table = torch.from_numpy(np.concatenate([weights.rows, unseen]))
    means = F.embedding_bag(torch.from_numpy(rows), table, torch.from_numpy(starts[:-1]), mode="mean")  # (P · F, d + 1)
    pooled = means.view(-1, fields, table.shape[1])
    return pooled[:, :, :-1], pooled[:, :, -1]
