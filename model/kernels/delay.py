"""Labels that are not known yet: how a model that learns an impression as a negative at once, and again if it is clicked, stays right.

Ktena et al., "Addressing Delayed Feedback for Continuous Training with Neural Networks in CTR prediction" (RecSys 2019). In such a
stream each impression gives one negative at once, and one positive if it is clicked. Where the probability of a click is p, the
share of positives is

    b = p / (1 + p)

Either the learner weighs each example by p(x, y) / b(x, y) ("fake negative weighted"), or it learns b, and p = b / (1 - b) is served
("fake negative calibration").
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.kernels.target import inner


@inner
def weight(label: Any, p: Any, one: Any) -> Any:
    """Return the importance of an example under ``fnw``: 1 + p of a positive, (1 - p)(1 + p) of a negative; no gradient goes through p.

    ``p`` is the prediction made before the example is learned; ``one`` is 1 in its precision.
    """
    return (one + p) if label > 0 else (one - p) * (one + p)


def corrected(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return click probabilities ``(N,)`` from logits of b, in float64: p = b / (1 - b) = exp(logit).

    Above b = 1/2, which no p explains, p is 1.
    """
    return np.exp(np.minimum(logits.astype(np.float64), 0.0))


def stream_logits(logits: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return logits of b ``(N,)`` from logits of p, to be scored by the labels of the stream: ln(b / (1 - b)) = ln p.

    >>> float(stream_logits(np.array([0.0], np.float32))[0])
    -0.6931471824645996
    """
    return -np.logaddexp(0.0, -logits.astype(np.float64)).astype(np.float32)
