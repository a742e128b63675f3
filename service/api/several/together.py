"""The metrics of several models as those of one server, told apart by the label ``model``: there are as many as the command names."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

READY = "sml_server_ready"


class Together(Collector):
    """Collects the metrics of every model.

    Args:
        own: Those of requests that no model has answered, which have no label ``model``.
        registries: Returns the registry of each model; None of one that is away, which is not ready.
    """

    def __init__(self, own: CollectorRegistry, registries: Callable[[], Mapping[str, CollectorRegistry | None]]) -> None:
        self._own, self._registries = own, registries

    def collect(self) -> Iterator[Metric]:
        """Yield each metric once, with the samples of all models."""
        found: dict[str, Metric] = {metric.name: metric for metric in self._own.collect()}
        registries = self._registries()
        for name, registry in registries.items():
            for metric in registry.collect() if registry else ():
                family = found.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                family.samples += [sample._replace(labels={**sample.labels, "model": name}) for sample in metric.samples]
        ready = found.setdefault(READY, Metric(READY, "1 when the weights have caught up with the log.", "gauge"))
        for name, registry in registries.items():
            if registry is None:
                ready.add_sample(READY, {"model": name}, 0.0)
        yield from found.values()
