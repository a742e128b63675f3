"""The paper's six networks by their names: each is the tower, with or without skip terms, and what stands beside it."""

from torch import nn

from model.autoint import Attention
from model.dcn import Cross
from model.dcn_v2 import CrossV2
from model.deepfm import FactorizationMachine
from model.dnn import DNN
from model.settings import Spec
from model.xdeepfm import CompressedInteraction

BRANCHES: dict[str, type[nn.Module]] = {
    "dcn": Cross,
    "dcn_v2": CrossV2,
    "deepfm": FactorizationMachine,
    "xdeepfm": CompressedInteraction,
    "autoint": Attention,
}


def build(spec: Spec) -> DNN:
    """The network that ``spec`` names; :func:`model.dnn.bind` gives it its values."""
    branch = BRANCHES.get(spec.model.network)
    return DNN(spec, branch(spec) if branch else None)
