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


@kernel
def no_term(net: Network, act: Activations, scratch: NDArray[Any]) -> Any:  # noqa: ARG001
    """Return 0: the tower stands alone."""
    return net.dense.dtype.type(0)


@kernel
def no_step(net: Network, act: Activations, scratch: NDArray[Any], dlogit: Any, rate: Any) -> Any:  # noqa: ARG001
    """There is nothing to learn."""
    return net.dense.dtype.type(0)


class Branch(NamedTuple):
    """A branch's kernels, and the size of its room."""

    scratch: Callable[[Network], int]
    forward: Callable[..., Any]
    backward: Callable[..., Any]


BRANCHES = (  # in the order of ``model.layout.NETWORKS``
    Branch(lambda _: 0, no_term, no_step),
    Branch(dcn.scratch, dcn.forward, dcn.backward),
    Branch(dcn.scratch, dcn_v2.forward, dcn_v2.backward),
    Branch(deepfm.scratch, deepfm.forward, deepfm.backward),
    Branch(xdeepfm.scratch, xdeepfm.forward, xdeepfm.backward),
    Branch(autoint.scratch, autoint.forward, autoint.backward),
)


class CompiledBranch(NamedTuple):
    """A branch as the step calls it."""

    forward: Any  # gives its term of the logit
    backward: Any  # takes one Adagrad step, adds the input's gradient to ``act.gradient[0]``; gives a sum that is finite if the step is
    scratch: NDArray[Any]  # (R,)


def compile_branch(net: Network, act: Activations) -> CompiledBranch:
    """Return the network's branch, with room for one example's pass."""
    typed = (numba.typeof(each) for each in (net, act))  # type: ignore[no-untyped-call]
    return CompiledBranch(*_compiled(net.branch, *typed), zeros(BRANCHES[net.branch].scratch(net), net.dense.dtype))


@cache
def _compiled(branch: int, network: Any, act: Any) -> tuple[Any, Any]:
    number = network.types[0].dtype
    numbers = number[::1]
    forward = number(network, act, numbers)
    backward = number(network, act, numbers, number, number)
    return pointer(BRANCHES[branch].forward, forward), pointer(BRANCHES[branch].backward, backward)
