"""Build a network by its name: the tower, with or without skip terms, and the branch beside it."""

from model.networks.dnn import DNN
from model.registry import NETWORKS
from model.settings import Spec


def build(spec: Spec) -> DNN:
    """Build the network that ``spec`` names; :func:`model.networks.dnn.bind` sets its values."""
    branch = NETWORKS[spec.model.network].definition()
    return DNN(spec, branch(spec) if branch else None)
