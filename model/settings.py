"""What a model is: its fields, its network, its table. A snapshot carries these settings, so a server needs no others."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field as Setting, model_validator

Positive = Annotated[float, Setting(gt=0)]
Width = Annotated[int, Setting(ge=1, le=8192)]
NetworkName = Literal["dnn", "dcn", "dcn_v2", "deepfm", "xdeepfm", "autoint"]
SkipName = Literal[
    "none", "vanilla", "relu", "sigmoid", "tanh", "weight_tanh",
    "meta_vanilla", "meta_relu", "meta_sigmoid", "meta_tanh", "meta_tanh_online",
]  # fmt: skip
_PAIRS = ("cross", "overlap")  # kinds of fields that are made of two others
_OVERLAPPING = (["categorical", "multi"], ["multi", "multi"])  # the kinds of two fields that may have an overlap


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Field(_Settings):
    """One input of the model."""

    name: str
    """the feature's name in impressions and requests"""
    kind: Literal["categorical", "numeric", "multi", "hour", "weekday", "cross", "overlap"] = "categorical"
    """hour and weekday (UTC) are taken from the example's time, cross and overlap are made of two other fields, the others are features"""
    separator: str = ","
    """between the values of a multi field that is written as one string"""
    tiles: Annotated[int, Setting(ge=0, le=8)] = 0
    """wider buckets that a number falls into beside its own, each shifted, so that near numbers share what is learned; `sml init` has 4"""
    bucket_width: Annotated[float, Setting(gt=0, allow_inf_nan=False)] | None = None
    """of a number whose values spread evenly, such as a latitude; without, buckets widen with the number, as counts and amounts want"""
    of: tuple[str, ...] = ()
    """two fields: a value of their cross is a value of the one with a value of the other; their overlap is how many values both have"""

    @model_validator(mode="after")
    def _has_buckets(self) -> Self:
        if self.bucket_width and self.kind != "numeric":
            raise ValueError(f"`bucket_width` in fields of kind numeric alone, but {self.name} is {self.kind}")
        return self

    @property
    def is_feature(self) -> bool:
        """Whether its values are sent by its name, and not taken from the time or from other fields."""
        return self.kind in ("categorical", "numeric", "multi")


class ModelSettings(_Settings):
    """The network and its step: Adagrad, its rates and what its accumulators start from."""

    network: NetworkName = "dnn"
    """a tower of ReLU layers over the embeddings; the others have a branch beside it that adds its own term to the logit"""
    skip: SkipName = "meta_tanh"
    """the term that every layer adds to the logit"""
    skip_input: Literal["pre", "post"] = "pre"
    """the terms read a layer before ReLU, or after it"""
    hidden: Annotated[tuple[Width, ...], Setting(min_length=1)] = (128, 64, 32)
    """widths of the tower's layers"""
    embedding: Annotated[int, Setting(ge=1, le=256)] = 8
    """numbers that stand for a value; `sml init` writes 15 for up to 16 fields, 7 for more"""
    cross_layers: Annotated[int, Setting(ge=1, le=64)] = 3
    """of dcn and dcn_v2"""
    skip_cross: bool = False
    """the cross layers of dcn and dcn_v2 add terms to the logit too, whatever skip_input: there is no ReLU to read before"""
    cin: Annotated[tuple[Width, ...], Setting(min_length=1)] = (16, 16)
    """of xdeepfm: feature maps of each layer of its compressed interaction network"""
    attention: Annotated[tuple[Width, ...], Setting(min_length=1)] = (16, 16)
    """of autoint: width of a head in each attention layer"""
    heads: Annotated[int, Setting(ge=1, le=64)] = 1
    """of autoint, in every attention layer"""
    wide: bool = True
    """each value also adds a weight of its own to the logit"""
    base_rate: bool = False
    """the bias follows the log-odds of the click rate so far, and learns only what is left; `sml init` turns it on"""
    click_rate: Annotated[float, Setting(ge=1e-5, lt=1)] | None = None
    """where the model begins, before it knows a label: 50 % by default, 9 % with base_rate; `sml init` writes it where clicks are rare"""
    records: bool = False
    """each value's own click rate, by the labels that were known when an example was shown, is an input too; `sml init` turns it on"""
    seed: int = 0
    tower_rate: Positive = 0.01
    """Adagrad's rate of the tower; `sml init` writes 0.005"""
    tower_accumulator: Positive = 0.003
    """what the sums of its squared gradients start from; `sml init` writes 0.001"""
    embedding_rate: Positive = Setting(default_factory=lambda model: 0.02 if model.get("network") == "deepfm" else 0.1)
    """0.1 if not set, and 0.02 for deepfm, whose embeddings meet without a weight between them"""
    embedding_accumulator: Positive = 0.001
    embedding_std: Positive = Setting(default_factory=lambda model: 0.01 if model.get("network") == "deepfm" else 0.05)
    """spread of the embeddings of values never seen: 0.05 if not set, and 0.01 for deepfm"""
    wide_rate: Positive = 0.02
    wide_accumulator: Positive = 1.0
    accumulator_half_life: Annotated[int, Setting(ge=0)] = 0
    """examples after which what the accumulators have summed is halved, so that a change is always learned as quickly; 0: never"""


class TableSettings(_Settings):
    """The table of embeddings, whose memory is fixed by its capacity."""

    capacity: Annotated[int, Setting(ge=8, multiple_of=8)] = 1_048_576
    """rows, in sets of eight; when a set is full, the value that was used least recently gives way"""


class Spec(_Settings):
    """Everything that decides what the weights mean."""

    model: ModelSettings = ModelSettings()
    table: TableSettings = TableSettings()
    fields: tuple[Field, ...]
    label_policy: Literal["window", "fnw", "fnc"] = "window"
    """how labels that come late are learned: under fnc the weights predict what the stream shows, and serving corrects it"""
    label_delay: Annotated[int, Setting(ge=0)] = 0
    """of models with records: how long after its time an example's label is known, ms"""
    served_by: str | None = None
    """the arm whose impressions alone are learned; None: everybody's"""

    @model_validator(mode="after")
    def _pairs_fit(self) -> Self:
        check_pairs(self.fields)
        return self


def check_pairs(fields: Sequence[Field]) -> None:
    """Make sure that each cross is of two other fields, and each overlap of a list and another list or category.

    Raises:
        ValueError: one is not.
    """
    kinds = {field.name: field.kind for field in fields if field.kind not in _PAIRS}
    for field in fields:
        of = ", ".join(field.of) or "none"
        two = len(set(field.of)) == len(field.of) == 2 and kinds.keys() >= set(field.of)  # noqa: PLR2004
        if field.kind == "cross" and not two:
            raise ValueError(f"each cross to be of two fields ({', '.join(kinds)}), but {field.name} is of {of}")
        if field.kind == "overlap" and not (two and sorted(kinds[name] for name in field.of) in _OVERLAPPING):
            raise ValueError(f"each overlap to be of a list (kind multi) and a list or a category, but {field.name} is of {of}")
        if field.of and field.kind not in _PAIRS:
            raise ValueError(f"`of` in fields of kind cross or overlap alone, but {field.name} is of {of}")
