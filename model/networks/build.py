"""The paper's six networks by their names: each is the tower, with or without skip terms, and what stands beside it."""

from torch import nn

from model.networks.autoint import Attention
from model.networks.dcn import Cross
from model.networks.dcn_v2 import CrossV2
from model.networks.deepfm import FactorizationMachine
from model.networks.dnn import DNN
from model.networks.xdeepfm import CompressedInteraction
from model.settings import Spec

BRANCHES: dict[str, type[nn.Module]] = {
    "dcn": Cross,
    "dcn_v2": CrossV2,
    "deepfm": FactorizationMachine,
    "xdeepfm": CompressedInteraction,
    "autoint": Attention,
}


def build(spec: Spec) -> DNN:
    """Return the network that ``spec`` names; :func:`model.networks.dnn.bind` gives it its values."""
    branch = BRANCHES.get(spec.model.network)
    return DNN(spec, branch(spec) if branch else None)
