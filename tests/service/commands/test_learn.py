"""``sml learn`` sets aside what the settings exclude, and no more."""

import time
from pathlib import Path

from service.commands.learn import learn
from service.settings import Settings
from stream.dead_letters import dead_letters
from tests.stream.learning import SPEC, TOPICS, example, opened


def test_the_settings_say_what_an_example_may_weigh_and_how_far_ahead_it_may_be(tmp_path: Path) -> None:
    now = int(time.time() * 1000)
    settings = Settings.model_validate(
        {
            "log": {"url": f"sqlite:///{tmp_path}/log.db", "prefix": TOPICS.prefix},
            "model": SPEC.model,
            "table": SPEC.table,
            "field": SPEC.fields,
            "learn": {"directory": f"{tmp_path}/checkpoints", "metrics_port": 0, "max_weight": 200},
            "join": {"clock_skew": "10m"},
        }
    )
    with opened(tmp_path) as log:
        log.append([example(0, weight=150), example(1, weight=250), example(2, time=now + 300_000), example(3, time=now + 900_000)])

        result = learn(settings, until_caught_up=True)

        assert result["examples"] == 2
        assert [letter.kind for letter in dead_letters(log, TOPICS)] == ["WeightError", "FutureTimeError"]
