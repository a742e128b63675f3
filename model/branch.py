"""What stands beside the tower and adds its own term to the logit, chosen by a number at run time.

So every network runs in the same compiled kernels. A branch reads the embeddings that the tower reads; the gradients
of both are summed before the one update of a row.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model import attention, cin, cross, cross_v2, fm
from model.attention import PARTS, Attended, attended
from model.cin import Compressed, compressed
from model.cross import Crossed, crossed
from model.layout import AUTOINT, DCN, DCN_V2, DEEPFM, XDEEPFM
from model.target import kernel
from model.tower import Network


class Room(NamedTuple):
    """What a branch keeps from its forward pass for its backward pass; empty for the branches that the network lacks."""

    crossed: Crossed
    compressed: Compressed
    attended: Attended
    summed: NDArray[Any]  # (d,), of the factorisation machine


@kernel
def room(net: Network) -> Room:
    """Room for one example's pass, allocated once for a run of examples."""
    places = net.places.shape[0]
    crosses = net.branch in (DCN, DCN_V2)
    return Room(
        crossed(places // 2 if crosses else 0, net.fields * net.embedding if crosses else 0, net.dense),
        compressed(net, places - 1 if net.branch == XDEEPFM else 0),
        attended(net, places // PARTS if net.branch == AUTOINT else 0),
        np.zeros(net.embedding, net.dense.dtype),
    )


@kernel
def forward(net: Network, x: NDArray[Any], kept: Room) -> Any:
    """The branch's term of the logit, for the input ``x (F d,)``; 0 where there is no branch."""
    if net.branch in (DCN, DCN_V2):
        first = kept.crossed.x[0]
        for k in range(first.shape[0]):
            first[k] = x[k]
    if net.branch == DCN:
        return cross.forward(net, kept.crossed)
    if net.branch == DCN_V2:
        return cross_v2.forward(net, kept.crossed)
    if net.branch == DEEPFM:
        return fm.forward(net, x, kept.summed)
    if net.branch == XDEEPFM:
        return cin.forward(net, x, kept.compressed)
    if net.branch == AUTOINT:
        return attention.forward(net, x, kept.attended)
    return net.dense.dtype.type(0)


@kernel
def backward(net: Network, x: NDArray[Any], kept: Room, slope: Any, rate: Any, below: NDArray[Any]) -> Any:
    """Learn the branch; add the input's gradient to ``below``. Gives a sum that is finite if and only if the step is."""
    if net.branch == DCN:
        return cross.backward(net, kept.crossed, slope, rate, below)
    if net.branch == DCN_V2:
        return cross_v2.backward(net, kept.crossed, slope, rate, below)
    if net.branch == DEEPFM:
        fm.backward(net, x, kept.summed, slope, below)
    if net.branch == XDEEPFM:
        return cin.backward(net, kept.compressed, slope, rate, below)
    if net.branch == AUTOINT:
        return attention.backward(net, kept.attended, slope, rate, below)
    return net.dense.dtype.type(0)
