"""Names of features that no field has become labels of a metric, however many are made up, only so many an hour."""

from prometheus_client import CollectorRegistry

from model.encoding.features import Encoder
from model.encoding.ignored_features import MOST_NAMES, OTHER
from model.settings import Field
from stream.ignored_features import CHOSEN_FOR, IgnoredMetric


def test_names_that_are_made_up_without_end_make_few_series_an_hour_and_a_misspelt_one_is_among_them_within_one() -> None:
    now, encoder, registry = 0.0, Encoder([Field(name="user")]), CollectorRegistry()
    IgnoredMetric("server", lambda: [encoder], registry, lambda: now)
    seen: set[str] = set()
    ignored = 0

    for minute in range(180):
        now = minute * CHOSEN_FOR / 60
        encoder.ignored.add({f"made-up-{minute}-{k}" for k in range(MOST_NAMES)}, 2)
        encoder.ignored.add({"uzer"} if minute >= 30 else (), 5)
        ignored += 2 * MOST_NAMES + 5 * (minute >= 30)
        [family] = registry.collect()
        values = {sample.labels["feature"]: sample.value for sample in family.samples}
        seen |= values.keys()

        assert sum(values.values()) == ignored
        assert "uzer" in values or minute < 60

    assert len(seen - {OTHER}) <= 3 * MOST_NAMES


def test_a_name_keeps_its_series_where_there_are_few() -> None:
    now, encoder, registry = 0.0, Encoder([Field(name="user")]), CollectorRegistry()
    IgnoredMetric("learner", lambda: [encoder], registry, lambda: now)
    encoder.ignored.add({"uzer"})
    assert list(registry.collect())

    now = CHOSEN_FOR
    encoder.ignored.add({"prize"})

    [family] = registry.collect()
    assert {sample.labels["feature"]: sample.value for sample in family.samples} == {"prize": 1, "uzer": 1}
