"""One run: everything that decides what a network is and how it is trained, and what came of it. A line of the results is both."""

import json
from typing import Any, NamedTuple

from model.settings import Field, ModelSettings, Spec

# DeepFM's first order and xDeepFM's linear part; the paper's other networks have no wide term.
WIDE = ("deepfm", "xdeepfm")
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # of the logit


class Recipe(NamedTuple):
    """How networks are trained, and what the paper leaves open: chosen by us once, on the validation sets of the samples.

    Attributes:
        batch: examples in a step; the paper's.
        rate: Adam's; the paper's.
        epochs: at most.
        patience: training ends after so many epochs that are no better on the validation set.
        embedding: width of an embedding.
        embedding_std: spread of embeddings before the first step.
        cross_layers: of DCN and DCN-V2.
        cin: feature maps of each layer of xDeepFM.
        attention: width of each layer of AutoInt, which has one head, as in the paper.
    """

    batch: int = 10_000
    rate: float = 0.001
    epochs: int = 20
    patience: int = 2
    embedding: int = 16
    embedding_std: float = 0.01
    cross_layers: int = 3
    cin: tuple[int, ...] = (16, 16)
    attention: tuple[int, ...] = (32, 32, 32)


class Run(NamedTuple):
    """One network, trained once.

    Attributes:
        data: ``"criteo"`` or ``"avazu"``.
        digest: of the data as encoded.
        network: its name in :mod:`model.networks`.
        skip: its skip term.
        skip_input: what the term reads.
        hidden: widths of the tower.
        seed: of the split, the initial weights and the order of the examples.
        recipe: how it is trained.
    """

    data: str
    digest: str
    network: str
    skip: str
    skip_input: str
    hidden: tuple[int, ...]
    seed: int
    recipe: Recipe

    def __str__(self) -> str:
        """Name it in a line of progress."""
        return f"{self.data} {self.network} {self.skip}/{self.skip_input}, {len(self.hidden)} layers, seed {self.seed}"

    def spec(self, fields: tuple[Field, ...]) -> Spec:
        """The model as :mod:`model` describes it."""
        recipe = self.recipe
        described = {
            "network": self.network,
            "skip": self.skip,
            "skip_input": self.skip_input,
            "hidden": self.hidden,
            "embedding": recipe.embedding,
            "embedding_std": recipe.embedding_std,
            "cross_layers": recipe.cross_layers,
            "cin": recipe.cin,
            "attention": recipe.attention,
            "wide": self.network in WIDE,
            "seed": self.seed,
        }
        return Spec(model=ModelSettings.model_validate(described), fields=fields)

    def settings(self) -> dict[str, Any]:
        """All of it as one JSON object; a recipe's settings stand among the others."""
        flat = {name: value for name, value in self._asdict().items() if name != "recipe"} | self.recipe._asdict()
        plain: dict[str, Any] = json.loads(json.dumps(flat))
        return plain


class Layers(NamedTuple):
    """What the hidden layers do on the test set, one number for each layer.

    Attributes:
        active: 5 %, 50 % and 95 % quantile over the neurons of the share of examples on which a neuron is above 0, ``(3, L)``.
        cosine: mean cosine similarity between the layer's outputs on two examples; of an output of zeros it is 0.
    """

    active: list[list[float]]
    cosine: list[float]


class Outcome(NamedTuple):
    """What came of a run, all of it from the epoch that was best on the validation set; 0 is before the first step.

    Attributes:
        epoch: which it was.
        epochs: how many were trained.
        valid_log_loss: what it was chosen by.
        log_loss: on the test set.
        auc: on the test set.
        logit: 5 %, 25 %, 50 %, 75 % and 95 % quantile of the logit on the test set.
        layers: see there.
        seconds: the whole run took.
    """

    epoch: int
    epochs: int
    valid_log_loss: float
    log_loss: float
    auc: float
    logit: list[float]
    layers: Layers
    seconds: float

    def line(self) -> dict[str, Any]:
        """All of it as one JSON object."""
        return self._asdict() | {"layers": self.layers._asdict()}
