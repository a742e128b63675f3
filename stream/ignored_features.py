"""The metric of the features that were ignored because no field has their name."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily

from model.features import Encoder


class IgnoredMetric:
    """Adds up what encoders have counted, at each scrape: where examples are encoded, it takes no time."""

    def __init__(self, process: str, encoders: Callable[[], Iterable[Encoder]], registry: CollectorRegistry) -> None:
        self._name, self._encoders = f"sml_{process}_ignored_features", encoders
        registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the counts as they are now."""
        counts: Counter[str] = Counter()
        for encoder in self._encoders():
            counts.update(encoder.ignored.counts())
        family = CounterMetricFamily(self._name, "Features ignored because no field has their name, by name.", labels=["feature"])
        for name, count in sorted(counts.items()):
            family.add_metric([name], count)
        yield family
