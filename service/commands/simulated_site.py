"""A simulated site whose true click probabilities are known, so that predictions can be compared with the best possible.

Visitors return, popularity drifts, new items appear, and a click comes some seconds after its impression.
The site is a function of its seed: the n-th visit is the same in every run.

Axes: U users, I items, C candidates of a visit, D latent tastes.
"""

from collections import deque
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

USERS, ITEMS, CANDIDATES, TASTES = 300, 600, 5, 3
CATEGORIES = ("art", "books", "cooking", "films", "games", "garden", "music", "news", "sport", "travel")
COUNTRIES = ("at", "br", "de", "fr", "in", "jp")
DEVICES = ("desktop", "phone", "tablet")
OLD_ITEMS = 100  # that exist from the start
NEW_ITEM_EVERY = 10.0  # seconds
FAME = 90.0  # seconds for which a new item is shown more often
CLICK_DELAY = 0.6  # seconds, the mean; exponential: one click in 150 comes after three seconds
BASE = -2.2  # the logit of an average candidate


class Visit(NamedTuple):
    """What a visitor is shown, in the form of ``/v1/predict``, and the truth that the server must never see."""

    context: dict[str, Any]
    candidates: list[dict[str, Any]]
    probabilities: Floats  # (C,)
    clicked: NDArray[np.bool_]  # (C,)
    delays: Floats  # (C,) seconds from impression to click


class Site:
    """The true model: what an item, its category, its price, a user and their tastes add to the logit of a click."""

    def __init__(self, seed: int, rate: float) -> None:
        """Draw users and items; ``rate`` visits come in a second."""
        self._random = random = np.random.default_rng(seed)
        self._rate, self._visits = rate, 0
        self._country = random.integers(len(COUNTRIES), size=USERS)
        self._likes = np.array([random.permutation(len(CATEGORIES))[:3] for _ in range(USERS)])  # (U, 3) categories
        self._user_effect = random.normal(0, 0.4, USERS)
        self._user_taste = random.normal(0, 1, (USERS, TASTES))
        self._loyalty = _shares(random.pareto(1.5, USERS) + 0.1)  # how often each returns
        self._category = random.integers(len(CATEGORIES), size=ITEMS)
        self._price = np.round(random.lognormal(2.5, 0.8, ITEMS), 2)
        self._item_effect = random.normal(0, 0.8, ITEMS)
        self._item_taste = random.normal(0, 1, (ITEMS, TASTES))
        self._born = np.maximum(0.0, np.arange(ITEMS) - OLD_ITEMS + 1) * NEW_ITEM_EVERY  # (I,) seconds
        self._period = random.uniform(300, 1200, ITEMS)  # of drift, in seconds
        self._phase = random.uniform(0, 2 * np.pi, ITEMS)
        self._local = random.normal(0, 0.6, (len(COUNTRIES), len(CATEGORIES)))  # a country's liking of a category
        self._device_effect = np.array([0.0, 0.5, -0.4])

    def visit(self) -> Visit:
        """Return the next visit: what a visitor sees, and what is clicked."""
        now = self._visits / self._rate
        self._visits += 1
        user = int(self._random.choice(USERS, p=self._loyalty))
        device = int(self._random.integers(len(DEVICES)))
        items = self._choose(now)
        probabilities = 1 / (1 + np.exp(-self._logits(user, device, items, now)))
        context = {
            "user_id": f"u{user}",
            "country": COUNTRIES[self._country[user]],
            "device": DEVICES[device],
            "likes": [CATEGORIES[liked] for liked in self._likes[user]],
        }
        candidates = [
            {"id": f"i{item}", "item_id": f"i{item}", "category": CATEGORIES[self._category[item]], "price": float(self._price[item])}
            for item in items
        ]
        clicked = self._random.random(CANDIDATES) < probabilities
        return Visit(context, candidates, probabilities, clicked, self._random.exponential(CLICK_DELAY, CANDIDATES))

    def _choose(self, now: float) -> NDArray[np.intp]:
        """Draw C different items, (C,), the popular ones more often (Gumbel's trick)."""
        age = now - self._born
        popularity = np.where(age < 0, -np.inf, self._drift(now) + 2 * np.exp(-age / FAME) * (self._born > 0))
        return np.argpartition(-popularity - self._random.gumbel(size=ITEMS), CANDIDATES)[:CANDIDATES]

    def _logits(self, user: int, device: int, items: NDArray[np.intp], now: float) -> Floats:
        """Return the true logits, (C,)."""
        category = self._category[items]
        logits: Floats = (
            BASE
            + self._user_effect[user]
            + self._device_effect[device]
            + self._item_effect[items]
            + 0.3 * self._drift(now)[items]
            + self._local[self._country[user], category]
            + 1.2 * np.isin(category, self._likes[user])
            - 0.5 * (np.log(self._price[items]) - 2.5)
            + 0.15 * self._item_taste[items] @ self._user_taste[user]
        )
        return logits

    def _drift(self, now: float) -> Floats:
        """Return the drift of popularity at ``now``, (I,), within ±1."""
        drift: Floats = np.sin(2 * np.pi * now / self._period + self._phase)
        return drift


class Comparison(NamedTuple):
    """Log losses over the same impressions: of the predictions served, of the true probabilities, and of the mean."""

    impressions: int
    served: float
    best: float
    mean: float


class Scoreboard:
    """Compares the predictions served with the truth, over the last impressions."""

    def __init__(self, window: int = 10_000) -> None:
        self._shown: deque[tuple[float, float, bool]] = deque(maxlen=window)

    def add(self, served: list[float], visit: Visit) -> None:
        """Add the predictions for one visit, and its outcome."""
        self._shown.extend(zip(served, visit.probabilities.tolist(), visit.clicked.tolist(), strict=True))

    def compare(self) -> Comparison | None:
        """Return the comparison; None before the first impression."""
        if not self._shown:
            return None
        served, true, clicked = np.array(self._shown, np.float64).T  # (window,) each
        mean = np.full_like(clicked, clicked.mean())
        return Comparison(len(clicked), _log_loss(served, clicked), _log_loss(true, clicked), _log_loss(mean, clicked))


def _log_loss(probabilities: Floats, clicked: Floats) -> float:
    kept = np.clip(probabilities, 1e-12, 1 - 1e-12)
    return float(-np.mean(np.log(np.where(clicked == 1, kept, 1 - kept))))


def _shares(weights: Floats) -> Floats:
    shares: Floats = weights / weights.sum()
    return shares
