"""The joiner's metrics say how late clicks come, and how what was served compares with the clicks that came back."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.log.contract import Message
from stream.log.reading import read_all
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import Topics, create
from stream.records.events import Click, Impression, Served, Watermark, decode_example, encode
from stream.settings import JoinSettings

TOPICS = Topics("t")
SHOWN = [("a", 0.3, 2_500), ("b", 0.1, None), ("c", 0.2, 700), ("d", None, 900), ("e", 0.05, None)]  # id, served, ms to the click


def joined(folder: Path, policy: str) -> CollectorRegistry:
    registry, settings = CollectorRegistry(), JoinSettings.model_validate({"click_window": 10, "lateness": 1, "label_policy": policy})
    impressions = [
        Impression(name, 100_000 + 10 * n, {}, Served(1, probability) if probability else None)
        for n, (name, probability, _) in enumerate(SHOWN)
    ]
    clicks = [Click(name, 100_000 + 10 * n + delay) for n, (name, _, delay) in enumerate(SHOWN) if delay]
    with SqliteLog(f"sqlite:///{folder / 'log.db'}") as log:
        create(log, TOPICS, 1)
        log.append([Message(TOPICS.impressions, each.impression_id.encode(), encode(each)) for each in impressions])
        log.append(
            [Message(TOPICS.clicks, each.impression_id.encode(), encode(each)) for each in sorted(clicks, key=lambda each: each.time)]
        )
        log.append([Message(topic, None, encode(Watermark(900_000))) for topic in (TOPICS.impressions, TOPICS.clicks)])
        Joiner(log, TOPICS, settings, JoinerMetrics(registry)).run(lambda: False, until_caught_up=True)
        examples = [
            decode_example(record.value) for record in read_all(log, TOPICS.examples, {0: 0}, {0: log.bounds(TOPICS.examples)[0].end})
        ]
    assert sum(int(example.label) for example in examples) == 3
    assert [example for example in examples if example.served] == []  # of use to reports on arms only
    return registry


@pytest.mark.parametrize("policy", ["window", "fnw", "fnc"])
def test_what_was_served_is_compared_with_the_clicks_that_came_back_each_impression_once(tmp_path: Path, policy: str) -> None:
    registry = joined(tmp_path, policy)

    def value(suffix: str, of: str) -> float:
        found = registry.get_sample_value(f"sml_joiner_served_probability_{suffix}", {"of": of})
        assert found is not None
        return found

    assert (value("count", "impressions"), value("count", "clicks")) == (4, 2)
    assert value("sum", "impressions") == pytest.approx(0.3 + 0.1 + 0.2 + 0.05)  # predicted clicks; those that came: 2
    assert value("sum", "clicks") == pytest.approx(0.3 + 0.2)


@pytest.mark.parametrize("policy", ["window", "fnw"])
def test_the_delay_of_each_click_that_counts_is_measured(tmp_path: Path, policy: str) -> None:
    registry = joined(tmp_path, policy)

    assert registry.get_sample_value("sml_joiner_click_delay_seconds_count") == 3
    assert registry.get_sample_value("sml_joiner_click_delay_seconds_sum") == pytest.approx(4.1)
    assert registry.get_sample_value("sml_joiner_click_delay_seconds_bucket", {"le": "1.0"}) == 2
