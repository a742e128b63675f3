"""The paper's own numbers, as printed: Deng, Lang, Liu, Liu, arXiv 2210.10725, Tables 1 and 2.

Its Figure 5: best at depth 4, the plain network collapses from depth 27, SML trains to 100.
"""

from typing import NamedTuple

DATA = {"criteo": "Criteo", "avazu": "Avazu"}
SML = "meta_tanh"  # the skip term of Table 1
NETWORKS = {"dnn": "DNN", "dcn": "DCN", "dcn_v2": "DCN-V2", "deepfm": "DeepFM", "xdeepfm": "xDeepFM", "autoint": "AutoInt"}


class Score(NamedTuple):
    """The scores of a network on the test set."""

    log_loss: float
    auc: float


# By data set and network: without SML, then with it.
TABLE_1: dict[tuple[str, str], tuple[Score, Score]] = {
    ("criteo", "dnn"): (Score(0.44218, 0.80948), Score(0.44123, 0.81042)),
    ("criteo", "dcn"): (Score(0.44224, 0.80936), Score(0.44144, 0.81021)),
    ("criteo", "dcn_v2"): (Score(0.44029, 0.81143), Score(0.44013, 0.81171)),
    ("criteo", "deepfm"): (Score(0.44216, 0.80949), Score(0.44146, 0.81026)),
    ("criteo", "xdeepfm"): (Score(0.44129, 0.81046), Score(0.44099, 0.81086)),
    ("criteo", "autoint"): (Score(0.44218, 0.80947), Score(0.44143, 0.81025)),
    ("avazu", "dnn"): (Score(0.37779, 0.78376), Score(0.37727, 0.78459)),
    ("avazu", "dcn"): (Score(0.37776, 0.78374), Score(0.37738, 0.78453)),
    ("avazu", "dcn_v2"): (Score(0.37697, 0.78499), Score(0.37654, 0.78583)),
    ("avazu", "deepfm"): (Score(0.37767, 0.78388), Score(0.37716, 0.78482)),
    ("avazu", "xdeepfm"): (Score(0.37753, 0.78436), Score(0.37674, 0.78541)),
    ("avazu", "autoint"): (Score(0.37764, 0.78411), Score(0.37749, 0.78435)),
}

# AUC by skip term of the DNN: Criteo, Avazu.
TABLE_2: dict[str, dict[str, float]] = {
    "none": {"criteo": 0.80948, "avazu": 0.78376},
    "vanilla": {"criteo": 0.80985, "avazu": 0.78409},
    "relu": {"criteo": 0.80963, "avazu": 0.78357},
    "sigmoid": {"criteo": 0.80952, "avazu": 0.78390},
    "tanh": {"criteo": 0.80978, "avazu": 0.78407},
    "weight_tanh": {"criteo": 0.80987, "avazu": 0.78403},
    "meta_vanilla": {"criteo": 0.81024, "avazu": 0.78426},
    "meta_relu": {"criteo": 0.80998, "avazu": 0.78384},
    "meta_sigmoid": {"criteo": 0.80984, "avazu": 0.78391},
    "meta_tanh": {"criteo": 0.81042, "avazu": 0.78459},
}


def printed(data: str, network: str, skip: str, measure: str) -> float | None:
    """Return the paper's number, if it printed one.

    >>> printed("avazu", "dcn", "meta_tanh", "log_loss"), printed("avazu", "dnn", "tanh", "log_loss")
    (0.37738, None)
    """
    if skip in ("none", SML) and (data, network) in TABLE_1:
        value: float | None = getattr(TABLE_1[data, network][skip == SML], measure, None)
        return value
    return TABLE_2.get(skip, {}).get(data) if (network, measure) == ("dnn", "auc") else None
