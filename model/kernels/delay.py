"""Labels that are not known yet: what makes a model right that learns an impression as a negative at once, and again if it is clicked.

Ktena et al., "Addressing Delayed Feedback for Continuous Training with Neural Networks in CTR prediction" (RecSys 2019). In such a
stream b, each impression brings one negative, and one positive with its click, so where p is the probability of a click it shows

    b = p / (1 + p)

Either the learner weighs each example by p(x, y) / b(x, y) ("fake negative weighted"), or it learns b, and p = b / (1 - b) is served
("fake negative calibration").
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.kernels.target import kernel


@kernel
def weight(label: Any, p: Any, one: Any) -> Any:
    """Return the importance of an example under ``fnw``: 1 + p of a positive, (1 - p)(1 + p) of a negative; no gradient goes through p.

    ``p`` is the prediction made before the example is learned; ``one`` is 1 in its precision.
    """
    return (one + p) if label > 0 else (one - p) * (one + p)


def corrected(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Click probabilities ``(N,)`` from logits of b, in float64: p = b / (1 - b) = exp(logit).

    Above b = 1/2, which no p explains, p is 1.
    """
    return np.exp(np.minimum(logits.astype(np.float64), 0.0))


def stream_logits(logits: NDArray[np.floating]) -> NDArray[np.float32]:
    """Logits of b ``(N,)`` from logits of p: what to score by labels of the stream, ln(b / (1 - b)) = ln p.

    >>> float(stream_logits(np.array([0.0], np.float32))[0])
    -0.6931471824645996
    """
    return -np.logaddexp(0.0, -logits.astype(np.float64)).astype(np.float32)
