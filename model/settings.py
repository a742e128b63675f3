"""What a model is: its fields, its network, its table. A snapshot carries it, so a server needs nothing else."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict
from pydantic import Field as Setting

Positive = Annotated[float, Setting(gt=0)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Field(_Settings):
    """One input of the model. ``hour`` and ``weekday`` (UTC) are taken from the example's time, the others from its features."""

    name: str
    kind: Literal["categorical", "numeric", "multi", "hour", "weekday"] = "categorical"
    separator: str = ","  # between the values of a ``multi`` field that is written as one string


class ModelSettings(_Settings):
    """The network and its step."""

    network: Literal["dnn"] = "dnn"
    skip: Literal["none", "meta_tanh"] = "meta_tanh"
    skip_input: Literal["pre", "post"] = "pre"  # the skip terms read a layer before ReLU, or after it
    hidden: tuple[Annotated[int, Setting(ge=1, le=8192)], ...] = (128, 64, 32)
    embedding: Annotated[int, Setting(ge=1, le=256)] = 8
    wide: bool = True
    seed: int = 0
    # Adagrad: step sizes, and what the accumulators start from.
    tower_rate: Positive = 0.01
    tower_accumulator: Positive = 0.003
    embedding_rate: Positive = 0.1
    embedding_accumulator: Positive = 0.001
    embedding_std: Positive = 0.05
    wide_rate: Positive = 0.02
    wide_accumulator: Positive = 1.0


class TableSettings(_Settings):
    """The table of embeddings: its memory is fixed by ``capacity``."""

    capacity: Annotated[int, Setting(ge=8, multiple_of=8)] = 1_048_576  # rows, in sets of eight


class Spec(_Settings):
    """Everything that decides what the weights mean."""

    model: ModelSettings = ModelSettings()
    table: TableSettings = TableSettings()
    fields: tuple[Field, ...]
