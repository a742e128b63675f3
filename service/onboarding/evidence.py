"""What a column's values tell about the label, each row predicted by the rows before it."""

import numpy as np
from numpy.typing import NDArray


def losses(codes: NDArray[np.int64], clicked: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log loss of each example, predicted by the click rate of its code so far plus five examples of the overall rate."""
    order = np.argsort(codes, kind="stable")
    codes, clicked = codes[order], clicked[order]
    starts = np.flatnonzero(np.diff(codes, prepend=codes[0] - 1))
    group = np.cumsum(np.diff(codes, prepend=codes[0] - 1) != 0) - 1
    before = np.cumsum(clicked) - clicked
    seen, clicks = np.arange(len(codes)) - starts[group], before - before[starts[group]]
    rate = (clicked.sum() + 1) / (len(clicked) + 2)
    probability = (clicks + 5 * rate) / (seen + 5)
    lost = np.empty(len(codes))
    lost[order] = -np.log(np.where(clicked == 1, probability, 1 - probability))
    return lost


def error(values: NDArray[np.float64]) -> float:
    """Return the standard error of a mean."""
    return float(values.std() / np.sqrt(len(values)))
