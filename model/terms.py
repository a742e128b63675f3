"""The skip terms of the paper's Table 2, each by its scale and its activation: ``F(x) = Σ W ⊙ act(s ⊙ x)``.

``tanh`` in the table is ``W ⊙ tanh(x)``, as ``relu`` and ``sigmoid`` are. ``weight(tanh)``, beside it, has one learned vector for
the scale that the meta learner finds for each example. ``meta_tanh_online`` is not in the paper: it is its future work (2).
"""

from typing import NamedTuple

from model.settings import SkipName

# What s is: no term at all, 1, a learned vector, or leaky_relu(M x' + b), found from the layer (Eq. 16).
NO_TERM, ONE, LEARNED, FROM_LAYER = range(4)
IDENTITY, RELU, SIGMOID, TANH = range(4)

MEMORY = 1000  # examples over which the running mean square is taken
EPSILON = 1e-5  # added to it


class Term(NamedTuple):
    """The parts of a skip term."""

    scale: int
    activation: int
    normed: bool = False  # s is divided by the root of the layer's running mean square


TERMS: dict[SkipName, Term] = {
    "none": Term(NO_TERM, IDENTITY),
    "vanilla": Term(ONE, IDENTITY),
    "relu": Term(ONE, RELU),
    "sigmoid": Term(ONE, SIGMOID),
    "tanh": Term(ONE, TANH),
    "weight_tanh": Term(LEARNED, TANH),
    "meta_vanilla": Term(FROM_LAYER, IDENTITY),
    "meta_relu": Term(FROM_LAYER, RELU),
    "meta_sigmoid": Term(FROM_LAYER, SIGMOID),
    "meta_tanh": Term(FROM_LAYER, TANH),
    "meta_tanh_online": Term(FROM_LAYER, TANH, normed=True),
}
