"""The six networks by name: each is the tower, and a branch beside it that adds its own term to the logit.

A new network is one entry here: its branch's definition in torch, its kernels, and the axes of its parameters. From the axes follow
where the parameters lie (:mod:`model.layout`) and what of them stays when fields come and go (:mod:`model.migrate`). Its name and its
settings are declared in :mod:`model.settings`.
"""

from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

from model.kernels.branches import autoint, dcn, dcn_v2, deepfm, xdeepfm
from model.kernels.branches.branch import NO_BRANCH, Branch
from model.settings import NetworkName, Spec
from model.terms import TERMS, Term

FIELD = 0  # stands for the number of fields in a parameter's axes; no real length is 0


class Axes(NamedTuple):
    """How the rows and the columns of a parameter are made up; the length ``FIELD`` is one for each field. A vector has no columns."""

    rows: tuple[int, ...]
    columns: tuple[int, ...] = ()

    def shape(self, fields: int) -> tuple[int, ...]:
        """Return the parameter's shape, ``(in, out)`` or ``(n,)``."""
        return tuple(prod(length or fields for length in lengths) for lengths in self if lengths)


class BranchAxes(NamedTuple):
    """The parameters of a branch: of each layer by their names, then the output weights."""

    layers: tuple[dict[str, Axes], ...] = ()
    output: Axes = Axes(())  # without rows if there are none
    term: Term = TERMS["none"]  # what each layer adds to the logit itself


def _no_axes(_: Spec) -> BranchAxes:
    return BranchAxes()


def _cross(spec: Spec, weight: Axes, vector: Axes) -> BranchAxes:
    term = TERMS[spec.model.skip if spec.model.skip_cross else "none"]
    return BranchAxes(({"weight": weight, "bias": vector},) * spec.model.cross_layers, vector, term)


def _dcn(spec: Spec) -> BranchAxes:
    flat = (FIELD, spec.model.embedding)
    return _cross(spec, Axes(flat), Axes(flat))


def _dcn_v2(spec: Spec) -> BranchAxes:
    flat = (FIELD, spec.model.embedding)
    return _cross(spec, Axes(flat, flat), Axes(flat))


def _xdeepfm(spec: Spec) -> BranchAxes:
    maps = spec.model.cin
    layers = ({"weight": Axes((inputs, FIELD), (outputs,))} for inputs, outputs in pairwise((FIELD, *maps)))
    return BranchAxes(tuple(layers), Axes((sum(maps),)))


def _autoint(spec: Spec) -> BranchAxes:
    widths = (spec.model.embedding, *(spec.model.heads * width for width in spec.model.attention))
    parts = ("query", "key", "value", "residual")
    layers = (dict.fromkeys(parts, Axes((inputs,), (outputs,))) for inputs, outputs in pairwise(widths))
    return BranchAxes(tuple(layers), Axes((FIELD, widths[-1])))


class Entry(NamedTuple):
    """What a network has beside the tower."""

    class_name: str  # of its definition in torch, "module.Class" in model.networks; "" if it has none
    branch: Branch  # its kernels
    axes: Callable[[Spec], BranchAxes]

    def definition(self) -> Any:
        """Import the branch's torch module, which takes the spec; None for the tower alone. Learning and serving never load torch."""
        module, _, name = self.class_name.rpartition(".")
        return getattr(import_module(f".networks.{module}", __package__), name) if name else None


NETWORKS: dict[NetworkName, Entry] = {
    "dnn": Entry("", NO_BRANCH, _no_axes),
    "dcn": Entry("dcn.Cross", Branch(dcn.scratch_shapes, dcn.forward, dcn.backward), _dcn),
    "dcn_v2": Entry("dcn_v2.CrossV2", Branch(dcn.scratch_shapes, dcn_v2.forward, dcn_v2.backward), _dcn_v2),
    "deepfm": Entry("deepfm.FactorizationMachine", Branch(deepfm.scratch_shapes, deepfm.forward, deepfm.backward), _no_axes),
    "xdeepfm": Entry("xdeepfm.CompressedInteraction", Branch(xdeepfm.scratch_shapes, xdeepfm.forward, xdeepfm.backward), _xdeepfm),
    "autoint": Entry("autoint.Attention", Branch(autoint.scratch_shapes, autoint.forward, autoint.backward), _autoint),
}


def branch_axes(spec: Spec) -> BranchAxes:
    """Return the parameters of the branch that ``spec`` names."""
    return NETWORKS[spec.model.network].axes(spec)
