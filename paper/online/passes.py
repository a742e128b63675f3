"""One pass of one network over one stream: each example is predicted, then learned, a step of its own; and what came of it.

Shapes: N examples, P probes, F fields, d width of an embedding.
"""

import time
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from model.features import Features
from model.networks.build import build
from model.networks.dnn import bind
from model.online import OnlineModel
from model.settings import Field, ModelSettings, Spec, TableSettings
from model.weights import Weights
from paper.offline.layers import Watched
from paper.offline.plan import SML
from paper.offline.results import Lines
from paper.offline.run import QUANTILES, Layers
from paper.online.bootstrap import Tally, tally
from paper.online.stream import Stream

CAPACITY = 1 << 18  # rows of the table: more than any sample has values
PROBES = 256  # examples that the layers are looked at with


class Pass(NamedTuple):
    """Everything that decides what is learned.

    Attributes:
        data: name of the sample.
        digest: of the sample as encoded.
        network: its name in :mod:`model.networks`.
        skip: its skip term.
        skip_input: what the term reads.
        hidden: widths of the tower.
        seed: of the initial weights, and of the order where the sample has none.
        tower_rate: Adagrad's, of the tower.
        tower_accumulator: what its accumulators start from.
        prefix: only the beginning is learned, and scored: what settings are chosen by.
    """

    data: str
    digest: str
    network: str
    skip: str
    skip_input: str
    hidden: tuple[int, ...]
    seed: int
    tower_rate: float
    tower_accumulator: float
    prefix: bool = False

    def __str__(self) -> str:
        """Name it in a line of progress."""
        return f"{self.data} {self.network} {self.skip} {self.skip_input}, {len(self.hidden)} layers, seed {self.seed}"

    @property
    def probed(self) -> bool:
        """Whether the layers are looked at: before the first example, half way and at the end."""
        return self.network == "dnn" and self.skip in ("none", SML) and not self.prefix

    def spec(self, fields: tuple[Field, ...]) -> Spec:
        """The model as :mod:`model` describes it."""
        names = ("network", "skip", "skip_input", "hidden", "seed", "tower_rate", "tower_accumulator")
        model = ModelSettings.model_validate({name: getattr(self, name) for name in names})
        return Spec(model=model, table=TableSettings(capacity=CAPACITY), fields=fields)

    def settings(self) -> dict[str, Any]:
        """All of it as one JSON object."""
        return self._asdict() | {"hidden": list(self.hidden)}


class Moment(NamedTuple):
    """What a network does with the probes at one moment.

    Attributes:
        examples: learned so far.
        logit: 5 %, 25 %, 50 %, 75 % and 95 % quantile.
        layers: how often neurons are active, and how alike two probes look to a layer.
    """

    examples: int
    logit: list[float]
    layers: Layers


class Outcome(NamedTuple):
    """What came of a pass.

    Attributes:
        blocks: predictions by block of time, or of rows.
        users: predictions by group of users, if users are known.
        moments: of the probes, if there were any.
        excluded: examples whose step was not finite: neither learned nor scored.
        weights_digest: of the weights at the end.
        seconds: it took.
    """

    blocks: Tally
    users: Tally | None
    moments: list[Moment]
    excluded: int
    weights_digest: str
    seconds: float

    def line(self) -> dict[str, Any]:
        """All of it as one JSON object."""
        return self._asdict() | {
            "blocks": self.blocks.plain(),
            "users": self.users.plain() if self.users else None,
            "moments": [moment._asdict() | {"layers": moment.layers._asdict()} for moment in self.moments],
        }


class Passes(Lines[Pass, Outcome]):
    """The outcomes of passes in a file."""

    def read(self, line: dict[str, Any]) -> Outcome:
        """Give the outcome whose line it is."""
        moments = [Moment(**of | {"layers": Layers(**of["layers"])}) for of in line["moments"]]
        users = Tally.from_plain(line["users"]) if line["users"] else None
        return Outcome(**line | {"blocks": Tally.from_plain(line["blocks"]), "users": users, "moments": moments})


class Predicted(NamedTuple):
    """The logit of each example, predicted before it was learned, and what the probes showed."""

    logits: NDArray[np.float32]  # (N,); not a number where the step was not finite
    moments: list[Moment]
    weights_digest: str


def learn_once(run: Pass, stream: Stream) -> Outcome:
    """Learn the stream once; score it from where scoring begins."""
    begin = time.perf_counter()
    stream = stream.in_order(run.seed)
    first, end = (0, stream.scored) if run.prefix else (stream.scored, len(stream.labels))
    logits, moments, digest = predict_then_learn(run, stream, end)
    fine = np.flatnonzero(np.isfinite(logits[first:])) + first
    blocks = np.zeros(len(stream.labels), np.int64) if run.prefix else stream.blocks
    by_user = stream.users if len(stream.users) and not run.prefix else None
    return Outcome(
        blocks=tally(logits[fine], stream.labels[fine], blocks[fine]),
        users=tally(logits[fine], stream.labels[fine], by_user[fine]) if by_user is not None else None,
        moments=moments,
        excluded=end - first - len(fine),
        weights_digest=digest,
        seconds=round(time.perf_counter() - begin, 2),
    )


def predict_then_learn(run: Pass, stream: Stream, end: int) -> Predicted:
    """Predict each example before ``end``, then learn it, in order."""
    model = OnlineModel(run.spec(stream.fields))
    probes = probes_of(stream) if run.probed else None
    logits = np.empty(end, np.float32)
    moments = [moment(model, probes)] if probes else []
    width = len(stream.fields)
    for a, b in ((0, end // 2), (end // 2, end)):
        features = Features(stream.features.keys, stream.features.starts[a * width : b * width + 1])
        learned = model.learn(features, stream.labels[a:b])
        logits[a:b] = learned.logits
        logits[a:b][learned.excluded] = np.nan
        if probes:
            moments.append(moment(model, probes))
    return Predicted(logits, moments, model.digest())


def probes_of(stream: Stream) -> Features:
    """Give some examples, evenly spread over those that are scored."""
    places = np.linspace(stream.scored, len(stream.labels) - 1, min(PROBES, len(stream.labels) - stream.scored))
    return stream.take(places.astype(np.int64)).features


def moment(model: OnlineModel, probes: Features) -> Moment:
    """Look at what a network does with the probes, without learning them; it is :mod:`model`'s torch twin that is looked into."""
    network = build(model.spec)
    bind(network, model.weights.layout.named(model.weights.dense))
    embedded, wide = (torch.from_numpy(part) for part in embed(model.weights, probes))
    with torch.no_grad(), Watched(network.tower) as watched:
        logits = network(embedded, wide)
    quantiles = np.quantile(logits.numpy(), QUANTILES)
    return Moment(model.examples, np.round(quantiles, 4).tolist(), watched.seen())


def embed(weights: Weights, features: Features) -> tuple[NDArray[Any], NDArray[Any]]:
    """Give the embedding of each field, ``(P, F, d)``, and its wide weight, ``(P, F)``: the means over its values."""
    fields = len(weights.spec.fields)
    defaults = weights.layout.named(weights.dense)["defaults"]  # (F, d)
    unseen = np.column_stack([defaults, np.zeros(fields, defaults.dtype)])  # (F, d + 1)
    lengths = np.diff(features.starts)
    keys = features.keys[features.starts[0] : features.starts[-1]]
    order = np.argsort(weights.keys)
    rows = order[np.minimum(np.searchsorted(weights.keys, keys, sorter=order), len(order) - 1)]
    field = np.repeat(np.arange(len(lengths)) % fields, lengths)
    values = np.where((weights.keys[rows] == keys)[:, None], weights.rows[rows], unseen[field])
    pooled = np.add.reduceat(values, features.starts[:-1] - features.starts[0]) / lengths[:, None].astype(values.dtype)
    pooled = pooled.reshape(-1, fields, values.shape[1])
    return np.ascontiguousarray(pooled[:, :, :-1]), np.ascontiguousarray(pooled[:, :, -1])
