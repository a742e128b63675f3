"""A run, which is everything that decides what a network is and how it is trained, and its outcome. A line of the results holds both."""

import json
from typing import Any, NamedTuple, Self

from model.settings import Field, ModelSettings, Spec
from paper.layers import Layers

# DeepFM's first order and xDeepFM's linear part; the paper's other networks have no wide term.
WIDE = ("deepfm", "xdeepfm")


class Recipe(NamedTuple):
    """How networks are trained, with what the paper leaves open: we chose that once, on the validation sets of the samples.

    Attributes:
        batch: examples in a step; the paper's.
        rate: Adam's; the paper's.
        epochs: at most.
        patience: training ends after so many epochs in a row that are no better on the validation set.
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
        """Return its name in a line of progress."""
        return f"{self.data} {self.network} {self.skip}/{self.skip_input}, {len(self.hidden)} layers, seed {self.seed}"

    def spec(self, fields: tuple[Field, ...]) -> Spec:
        """Return the model as :mod:`model` describes it."""
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
        """Return all of it as one JSON object, with the recipe's settings among the others."""
        flat = {name: value for name, value in self._asdict().items() if name != "recipe"} | self.recipe._asdict()
        plain: dict[str, Any] = json.loads(json.dumps(flat))
        return plain


class Outcome(NamedTuple):
    """The outcome of a run, from the epoch that was best on the validation set; epoch 0 is before the first step.

    Attributes:
        epoch: the best one.
        epochs: how many were trained.
        valid_log_loss: that of the best epoch.
        log_loss: on the test set.
        auc: on the test set.
        logit: 5 %, 25 %, 50 %, 75 % and 95 % quantile of the logit on the test set.
        layers: what the hidden layers do on the test set.
        seconds: how long the whole run took.
    """

    epoch: int
    epochs: int
    valid_log_loss: float
    log_loss: float
    auc: float
    logit: list[float]
    layers: Layers
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return all of it as one JSON object."""
        return self._asdict() | {"layers": self.layers._asdict()}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Self:
        """Return the outcome that ``plain`` was made from."""
        return cls(**plain | {"layers": Layers(**plain["layers"])})
