"""What stands beside the tower and adds its own term to the logit.

A branch is a pair of kernels that are called by their addresses: the step is compiled once, whatever the network, and
a branch when a network first has it. A branch reads the embeddings that the tower reads; the gradients of both are
summed before the one update of a row.

Shapes: the input, ``act.x[0]``, is ``(F d,)``; ``scratch`` is what a branch keeps from its forward pass for its backward pass.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numba

from model.kernels.memory import Scratch, allocate
from model.kernels.network import Activations, Network
from model.kernels.target import inner, pointer


class Branch(NamedTuple):
    """A branch's kernels, and the shapes of its scratch arrays by their names, in the order in which the kernels count them."""

    scratch: Callable[[Network], dict[str, tuple[int, ...]]]
    forward: Callable[..., Any]
    backward: Callable[..., Any]


class CompiledBranch(NamedTuple):
    """A branch as the step calls it."""

    forward: Any  # returns its term of the logit
    backward: Any  # takes one Adagrad step, adds the input's gradient to act.gradient[0]; returns a sum that is finite if the step is
    scratch: Scratch


def compiled(branch: Branch, net: Network, act: Activations) -> CompiledBranch:
    """Compile a branch, and allocate what one example's pass needs."""
    scratch = allocate(branch.scratch(net).values(), net.dense.dtype)
    types = (numba.typeof(each) for each in (net, act, scratch))  # type: ignore[no-untyped-call]
    return CompiledBranch(*_pointers(branch, *types), scratch)


@cache
def _pointers(branch: Branch, net: Any, act: Any, scratch: Any) -> tuple[Any, Any]:
    number = net.types[0].dtype
    forward = number(net, act, scratch)
    backward = number(net, act, scratch, number, number)
    return pointer(branch.forward, forward), pointer(branch.backward, backward)


@inner
def no_term(net: Network, act: Activations, scratch: Scratch) -> Any:  # noqa: ARG001
    """Return 0: the tower stands alone."""
    return net.dense.dtype.type(0)


@inner
def no_step(net: Network, act: Activations, scratch: Scratch, dlogit: Any, rate: Any) -> Any:  # noqa: ARG001
    """Return 0: there is nothing to learn."""
    return net.dense.dtype.type(0)


NO_BRANCH = Branch(lambda _: {}, no_term, no_step)
