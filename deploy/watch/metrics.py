"""Every metric of every process, and the page that describes them: from the code that registers them."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from service.api.arms import Arms
from service.api.monitoring.experiment_metrics import ExperimentMetrics
from service.api.monitoring.metrics import ServerMetrics
from stream.arms import Traffic
from stream.join.metrics import JoinerMetrics
from stream.learn.metrics import LearnerMetrics, tell_arm
from stream.log.metrics import measure
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import Topics
from stream.traffic import TrafficFollower
from stream.weights.metrics import FollowerMetrics

# Each label, and why it has few values; one that is not here fails the tests.
LABELS = {
    "arm": "the arms of the settings",
    "baseline": "`base_rate`, the click rate of the window; `wide`, the model's bias and wide weights alone",
    "bound": "a mean, and the `low` and `high` end of its interval",
    "candidates": "the number of candidates in a request: up to 1, 10, 100 or 1000",
    "check": "the guard's checks",
    "experiment": "the newest reports that are kept",
    "fate": "what became of an event: four fates of a click, three of an impression",
    "feature": "of names that no field has, the 20 most frequent, chosen each hour; `other` for the rest, long ones and unprintable ones",
    "field": "the fields of the settings",
    "file": "the log's file, and its write-ahead log",
    "group": "the groups of the calibration curve, `01` to `20`",
    "hop": "`log`, `join`, `learn`, `publish`, `serve`",
    "input": "`impressions`, `clicks`",
    "kind": "early clicks, tombstones in vain, late clicks learned, events of `[input]` passed over",
    "label": "`0`, `1`",
    "layer": "the layers of the network",
    "measure": "click rate, value, log loss, AUC, calibration",
    "of": "which of two: `recent` examples and `good` ones, or served `impressions` and the `clicks` on them",
    "over": "the newest `1k`, `10k` or `100k` examples, or the `total` of what the model has learned",
    "parameter": "the dense parameters of the network",
    "rail": "the guard rails of a report",
    "reason": "kinds of errors, names of a record's own fields, or why an arm answers",
    "route": "the routes of the API; `none` for every path that is no route",
    "source": "the first 20 sources that write late events; `other` for all further ones",
    "status": "the HTTP statuses that the server answers with",
    "term": "the skip terms of the network",
    "topic": "the topics of the model",
    "value": "the first 20 values of a field; `other` for all further ones",
}


class Metric(NamedTuple):
    """One metric, as it is registered."""

    name: str  # as it is queried: a counter's ends in _total
    kind: str
    labels: tuple[str, ...]
    text: str


def by_process() -> dict[str, list[Metric]]:
    """Return the metrics of each process, sorted by name; an embedded log's are by themselves."""
    registries = {name: CollectorRegistry() for name in ("learner", "joiner", "server", "embedded log")}
    with TemporaryDirectory() as folder, SqliteLog(f"sqlite:///{folder}/log.db") as log:
        topics = Topics("sml")
        LearnerMetrics(registries["learner"])
        tell_arm(registries["learner"], "control")
        JoinerMetrics(registries["joiner"])
        arms = Arms(("control", "treatment"), TrafficFollower(log, topics, Traffic.of("test", {"control": 0.5, "treatment": 0.5})))
        ServerMetrics(registries["server"], arms)
        FollowerMetrics(registries["server"])
        registries["server"].register(ExperimentMetrics(Path(folder)))
        measure(log, topics, registries["embedded log"])
        return {process: sorted(_metrics(registry)) for process, registry in registries.items()}


def _metrics(registry: CollectorRegistry) -> Iterator[Metric]:
    for collector in list(registry._collector_to_names):  # noqa: SLF001 - a labelled metric without a value is not in collect()
        for family in collector.collect():
            labels = tuple(getattr(collector, "_labelnames", getattr(family, "_labelnames", ())))
            yield Metric(family.name + ("_total" if family.type == "counter" else ""), family.type, labels, family.documentation)


def used(name: str, queries: Mapping[str, str]) -> list[str]:
    """Return the keys of ``queries`` that ask for a metric, by its own name or that of a histogram's parts."""
    named = re.compile(rf"\b{name}(_bucket|_sum|_count)?\b")
    return [key for key, query in queries.items() if named.search(query)]


def page(shown: Mapping[str, str]) -> str:
    """Return the page; ``shown`` are the queries by where they stand."""
    parts = [
        "# Metrics\n\nWritten by `make watch` from the code. Times are in seconds, sizes in bytes; labels have few values, listed below.\n"
    ]
    for process, metrics in by_process().items():
        parts.append(f"\n## {process.capitalize()}\n\n| metric | kind | labels | what it says | shown |\n| --- | --- | --- | --- | --- |\n")
        for metric in metrics:
            labels = ", ".join(f"`{label}`" for label in metric.labels) or "none"
            places = "; ".join(sorted(used(metric.name, shown)))
            parts.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.text} | {places} |\n")
    parts.append("\n## Labels\n\n| label | its values |\n| --- | --- |\n")
    parts += [f"| `{label}` | {values} |\n" for label, values in LABELS.items()]
    return "".join(parts)
