"""What stands beside the tower and adds its own term to the logit.

A branch is a pair of kernels that are called by their addresses: the step is compiled once, whatever the network, and
a branch when a network first has it. A branch reads the embeddings that the tower reads; the gradients of both are
summed before the one update of a row.

Shapes: the input, ``act.x[0]``, is ``(F d,)``; ``scratch (R,)`` is what a branch keeps from its forward pass for
its backward pass, allocated once for a model.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numba
from numpy.typing import NDArray

from model.kernels import autoint, dcn, dcn_v2, deepfm, xdeepfm
from model.kernels.aligned import zeros
from model.kernels.network import Activations, Network
from model.kernels.target import kernel, pointer
from model.layout import NETWORKS


@kernel
def no_term(net: Network, act: Activations, scratch: NDArray[Any]) -> Any:  # noqa: ARG001
    """Return 0: the tower stands alone."""
    return net.dense.dtype.type(0)


@kernel
def no_step(net: Network, act: Activations, scratch: NDArray[Any], dlogit: Any, rate: Any) -> Any:  # noqa: ARG001
    """Return 0: there is nothing to learn."""
    return net.dense.dtype.type(0)


class Branch(NamedTuple):
    """A branch's kernels, and the size of their scratch."""

    scratch: Callable[[Network], int]
    forward: Callable[..., Any]
    backward: Callable[..., Any]


BRANCHES = {
    "dnn": Branch(lambda _: 0, no_term, no_step),
    "dcn": Branch(dcn.scratch, dcn.forward, dcn.backward),
    "dcn_v2": Branch(dcn.scratch, dcn_v2.forward, dcn_v2.backward),
    "deepfm": Branch(deepfm.scratch, deepfm.forward, deepfm.backward),
    "xdeepfm": Branch(xdeepfm.scratch, xdeepfm.forward, xdeepfm.backward),
    "autoint": Branch(autoint.scratch, autoint.forward, autoint.backward),
}


class CompiledBranch(NamedTuple):
    """A branch as the step calls it."""

    forward: Any  # gives its term of the logit
    backward: Any  # takes one Adagrad step, adds the input's gradient to ``act.gradient[0]``; gives a sum that is finite if the step is
    scratch: NDArray[Any]  # (R,)


def compile_branch(net: Network, act: Activations) -> CompiledBranch:
    """Return the network's branch, with scratch for one example's pass."""
    typed = (numba.typeof(each) for each in (net, act))  # type: ignore[no-untyped-call]
    name = NETWORKS[net.branch]
    return CompiledBranch(*_compiled(name, *typed), zeros(BRANCHES[name].scratch(net), net.dense.dtype))


@cache
def _compiled(name: str, network: Any, act: Any) -> tuple[Any, Any]:
    number = network.types[0].dtype
    numbers = number[::1]
    forward = number(network, act, numbers)
    backward = number(network, act, numbers, number, number)
    return pointer(BRANCHES[name].forward, forward), pointer(BRANCHES[name].backward, backward)
