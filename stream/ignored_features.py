"""The metric of the features that were ignored because no field has their name."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily

from model.encoding.features import Encoder
from model.encoding.ignored_features import MOST_NAMES, OTHER

CHOSEN_FOR = 3_600.0  # seconds that a name keeps its series


class IgnoredMetric:
    """Adds up what encoders have counted, at each scrape: where examples are encoded, it takes no time.

    Senders choose the names, and Prometheus keeps each series that it has ever seen. So a name takes one of few places while one is free,
    and only once an hour the places are given anew, to the names that came most since.
    """

    def __init__(
        self,
        process: str,
        encoders: Callable[[], Iterable[Encoder]],
        registry: CollectorRegistry,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._encoders, self._clock = f"sml_{process}_ignored_features", encoders, clock
        self._before: Counter[str] = Counter()  # the counts when the places were last given
        self._places: set[str] = set()
        self._until = clock() + CHOSEN_FOR
        registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the counts as they are now."""
        counts: Counter[str] = Counter()
        for encoder in self._encoders():
            counts.update(encoder.ignored.counts())
        self._give_places(counts)
        family = CounterMetricFamily(self._name, "Features ignored because no field has their name, by name.", labels=["feature"])
        for name in sorted(self._places):
            family.add_metric([name], counts[name])
        if others := counts.total() - sum(counts[name] for name in self._places):
            family.add_metric([OTHER], others)
        yield family

    def _give_places(self, counts: Counter[str]) -> None:
        names = [name for name, _ in (counts - self._before).most_common() if name != OTHER]
        if self._clock() >= self._until:
            names += self._places  # where there are few, they stay
            self._places, self._before, self._until = set(), counts, self._clock() + CHOSEN_FOR
        for name in names:
            if len(self._places) < MOST_NAMES:
                self._places.add(name)
