"""A simulated site whose true click probabilities are known, so that predictions can be compared with the best possible.

Visitors return, popularity drifts, new items appear, and a click comes some seconds after its impression. Items are advertised: a click
that converts is worth what the advertiser bids for a conversion. A day passes in ten minutes.
The site is a function of its seed and its scenario: the n-th visit is the same in every run.

Axes: U users, I items, A advertisers, C candidates of a visit, D latent tastes.
"""

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TASTES, ADVERTISERS = 3, 40
CANDIDATES = 5  # where nothing else is said
CATEGORIES = ("art", "books", "cooking", "films", "games", "garden", "music", "news", "sport", "travel")
COUNTRIES = ("at", "br", "de", "fr", "in", "jp")
DEVICES = ("desktop", "phone", "tablet")
OLD_ITEMS = 100  # that exist from the start
NEW_ITEM_EVERY = 10.0  # seconds
FAME = 90.0  # seconds for which a new item is shown more often
CLICK_DELAY = 0.6  # seconds, the mean; exponential: one click in 150 comes after three seconds
DAY = 600.0  # seconds


class Scenario(NamedTuple):
    """What one site has and another has not."""

    users: int = 300
    items: int = 600
    candidates: int = CANDIDATES
    shown: int = CANDIDATES  # of the candidates: those from which most is expected
    base: float = -2.2  # the logit of an average candidate
    drift: float = 0.3  # what the drift of popularity adds to it, at most
    rhythm: float = 0.0  # by how much of the mean the traffic rises until noon and falls until midnight; logits rise and fall by as much
    changes: float = math.inf  # when tastes become others at once, in seconds

    def best(self, worth: Floats, predicted: Floats) -> NDArray[np.intp]:
        """Return the candidates from which most value is to be expected, the best first: ``(..., C)`` and ``(..., C)`` → indices."""
        return np.argsort(-worth * predicted, axis=-1, kind="stable")[..., : self.shown]


SCENARIOS = {
    "page": Scenario(),
    "feed": Scenario(users=2_000, items=800, candidates=12, shown=3, base=-3.2, rhythm=0.5),
    "video": Scenario(users=2_000, items=800, candidates=12, shown=3, base=-4.4, drift=0.9, rhythm=0.3),
}


class Visit(NamedTuple):
    """What a visitor may be shown, in the form of ``/v1/predict``, and the truth that the server must never see."""

    context: dict[str, Any]
    candidates: list[dict[str, Any]]
    probabilities: Floats  # (C,)
    clicked: NDArray[np.bool_]  # (C,): whether each would be, if it was shown
    delays: Floats  # (C,) seconds from impression to click
    time: float  # of the site, in seconds
    worth: Floats  # (C,): what a click is expected to be worth, which the site knows: bid × conversion rate
    values: Floats  # (C,): what it is worth: the bid if it converts, else 0

    def only(self, candidates: Sequence[int]) -> "Visit":
        """Return the visit with some of its candidates."""
        chosen = np.asarray(candidates)
        arrays = {name: getattr(self, name)[chosen] for name in ("probabilities", "clicked", "delays", "worth", "values")}
        return self._replace(candidates=[self.candidates[c] for c in candidates], **arrays)


class Site:
    """The true model: what an item, its category, its price, a user and their tastes add to the logit of a click."""

    def __init__(self, seed: int, rate: float, scenario: Scenario = SCENARIOS["page"]) -> None:
        """Draw users and items; ``rate`` visits come in a second, in the mean of a day."""
        self._random = random = np.random.default_rng(seed)
        self._rate, self.scenario, self._now = rate, scenario, 0.0
        users, items = scenario.users, scenario.items
        self._country = random.integers(len(COUNTRIES), size=users)
        self._likes = np.array([random.permutation(len(CATEGORIES))[:3] for _ in range(users)])  # (U, 3) categories
        self._user_effect = random.normal(0, 0.4, users)
        self._user_taste = random.normal(0, 1, (users, TASTES))
        returns = np.cumsum(_shares(random.pareto(1.5, users) + 0.1))
        self._returns = returns / returns[-1]  # the share of the visits that this user or one before makes
        self._category = random.integers(len(CATEGORIES), size=items)
        self._price = np.round(random.lognormal(2.5, 0.8, items), 2)
        self._draw_effects(random)
        self._item_taste = random.normal(0, 1, (items, TASTES))
        self._born = np.maximum(0.0, np.arange(items) - OLD_ITEMS + 1) * NEW_ITEM_EVERY  # (I,) seconds
        self._period = random.uniform(300, 1200, items)  # of drift, in seconds
        self._phase = random.uniform(0, 2 * np.pi, items)
        self._local = random.normal(0, 0.6, (len(COUNTRIES), len(CATEGORIES)))  # a country's liking of a category
        self._device_effect = np.array([0.0, 0.5, -0.4])
        self._more = more = np.random.default_rng([seed, 1])  # of money and change: what is shown and clicked depends on neither
        self._advertiser = more.integers(ADVERTISERS, size=items)
        self._bid = np.round(more.lognormal(1.5, 0.6, ADVERTISERS), 2)
        self._converts = more.beta(2, 6, ADVERTISERS)
        self._changes = scenario.changes

    def visit(self) -> Visit:
        """Return the next visit: what a visitor may see, and what is clicked of it."""
        now, user = self._now, self._draw_user()
        self._now += 1 / (self._rate * (1 + self._hour(now)))
        if now >= self._changes:
            self._draw_effects(self._more)
            self._local = self._more.normal(0, 0.6, self._local.shape)
            self._changes = math.inf
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
        clicked = self._random.random(len(items)) < probabilities
        delays = self._random.exponential(CLICK_DELAY, len(items))
        bid, rate = (each[self._advertiser[items]] for each in (self._bid, self._converts))
        values = np.where(self._more.random(len(items)) < rate, bid, 0.0)
        return Visit(context, candidates, probabilities, clicked, delays, now, bid * rate, values)

    def show(self, visit: Visit, predicted: Sequence[float]) -> list[int]:
        """Return which candidates a visitor is shown: those with the most value to be expected, the best first; all in their order."""
        if self.scenario.shown >= self.scenario.candidates:
            return list(range(self.scenario.candidates))
        best: list[int] = self.scenario.best(visit.worth, np.asarray(predicted)).tolist()
        return best

    def _draw_user(self) -> int:
        return int(np.searchsorted(self._returns, self._random.random(), side="right"))

    def _draw_effects(self, random: np.random.Generator) -> None:
        self._item_effect = random.normal(0, 0.8, self.scenario.items)

    def _hour(self, now: float) -> float:
        """Return the hour's part of the traffic above the mean, and of the logit: least at midnight, most at noon."""
        return -self.scenario.rhythm * math.cos(2 * math.pi * now / DAY)

    def _choose(self, now: float) -> NDArray[np.intp]:
        """Draw C different items, (C,), the popular ones more often (Gumbel's trick)."""
        age = now - self._born
        popularity = np.where(age < 0, -np.inf, self._drift(now) + 2 * np.exp(-age / FAME) * (self._born > 0))
        count = self.scenario.candidates
        return np.argpartition(-popularity - self._random.gumbel(size=self.scenario.items), count)[:count]

    def _logits(self, user: int, device: int, items: NDArray[np.intp], now: float) -> Floats:
        """Return the true logits, (C,)."""
        category = self._category[items]
        logits: Floats = (
            self.scenario.base
            + self._hour(now)
            + self._user_effect[user]
            + self._device_effect[device]
            + self._item_effect[items]
            + self.scenario.drift * self._drift(now)[items]
            + self._local[self._country[user], category]
            + 1.2 * (category[:, None] == self._likes[user]).any(axis=1)
            - 0.5 * (np.log(self._price[items]) - 2.5)
            + 0.15 * self._item_taste[items] @ self._user_taste[user]
        )
        return logits

    def _drift(self, now: float) -> Floats:
        """Return the drift of popularity at ``now``, (I,), within ±1."""
        drift: Floats = np.sin(2 * np.pi * now / self._period + self._phase)
        return drift


class Comparison(NamedTuple):
    """Log losses over the same impressions: of the predictions served, of the true probabilities, and of the mean; and their value."""

    impressions: int
    served: float
    best: float
    mean: float
    value: float  # of an impression


class Scoreboard:
    """Compares the predictions served with the truth, over the last impressions."""

    def __init__(self, window: int = 10_000) -> None:
        self._shown: deque[tuple[float, float, bool, float]] = deque(maxlen=window)

    def add(self, served: list[float], visit: Visit) -> None:
        """Add the predictions for what one visit has shown, and its outcome."""
        self._shown.extend(zip(served, visit.probabilities.tolist(), visit.clicked.tolist(), visit.values.tolist(), strict=True))

    def compare(self) -> Comparison | None:
        """Return the comparison; None before the first impression."""
        if not self._shown:
            return None
        served, true, clicked, values = np.array(self._shown, np.float64).T  # (window,) each
        mean = np.full_like(clicked, clicked.mean())
        value = float(np.mean(clicked * values))
        return Comparison(len(clicked), _log_loss(served, clicked), _log_loss(true, clicked), _log_loss(mean, clicked), value)


def _log_loss(probabilities: Floats, clicked: Floats) -> float:
    kept = np.clip(probabilities, 1e-12, 1 - 1e-12)
    return float(-np.mean(np.log(np.where(clicked == 1, kept, 1 - kept))))


def _shares(weights: Floats) -> Floats:
    shares: Floats = weights / weights.sum()
    return shares
