"""A log that version 0.1.0 has poisoned can be learned from again, and the error messages tell the operator how."""

import gzip
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from model.settings import Field, ModelSettings, Spec, TableSettings
from stream.inputs.event_time import TimeRule
from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.learn.learner import Learner
from stream.learn.metrics import LearnerMetrics
from stream.learn.restore.rollback import roll_back
from stream.log.contract import Message, Record
from stream.log.reading import read_all
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import JoinerError, Topics, create
from stream.records.events import Click, Example, Impression, Watermark, decode_example, encode
from stream.records.version import Version
from stream.settings import JoinSettings, LearnSettings
from stream.weights.versions import read_versions

HERE = Path(__file__).parent
TOPICS = Topics("sml")
SPEC = Spec(model=ModelSettings(hidden=(4,), embedding=2), table=TableSettings(capacity=64), fields=(Field(name="user"),))
JOIN = JoinSettings(click_window=3.0, lateness=1.0)


class Site:
    """What an operator has after the upgrade: the log as it was left, and no checkpoint."""

    def __init__(self, log: SqliteLog, folder: Path) -> None:
        self.log, self.learning = log, LearnSettings(directory=str(folder / "checkpoints"))

    def joiner(self, settings: JoinSettings = JOIN) -> Joiner:
        return Joiner(self.log, TOPICS, settings, JoinerMetrics(CollectorRegistry()))

    def join(self, settings: JoinSettings = JOIN) -> None:
        self.joiner(settings).run(lambda: False, until_caught_up=True)

    def learn(self) -> Version:
        metrics = LearnerMetrics(CollectorRegistry())
        learner = Learner(self.log, TOPICS, SPEC, self.learning, metrics, times=TimeRule.of(JOIN))
        learner.run(lambda: False, until_caught_up=True)
        assert learner.last
        return learner.last.version

    def versions(self) -> list[Version]:
        return [version for version, _ in read_versions(self.log, TOPICS, 0)]

    def honest(self, count: int, *, crc32: bool = False) -> set[str]:
        """Write impressions of now, all clicked, and what decides them; return their ids."""
        now, partitions = int(time.time() * 1000), len(self.log.bounds(TOPICS.clicks))
        names = [f"new-{n}" for n in range(count)]
        self.log.append(
            [Message(TOPICS.impressions, name.encode(), encode(Impression(name, now - 9_000, {"user": "u"}))) for name in names]
        )
        for name in names:
            partition = zlib.crc32(name.encode()) % partitions if crc32 else None
            self.log.append([Message(TOPICS.clicks, name.encode(), encode(Click(name, now - 8_900)), partition=partition)])
        ends = [
            Message(topic, None, encode(Watermark(now)), partition=p)
            for topic in (TOPICS.impressions, TOPICS.clicks)
            for p in range(partitions)
        ]
        self.log.append(ends)
        return set(names)

    def examples(self) -> dict[str, int]:
        return {
            example.impression_id: example.label
            for example in map(decode_example, (record.value for record in self.records(TOPICS.examples)))
        }

    def records(self, topic: str) -> list[Record]:
        return list(read_all(self.log, topic))


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """Open a copy of a poisoned log."""
    path = tmp_path / "log.db"
    path.write_bytes(gzip.decompress((HERE / f"{request.param}.db.gz").read_bytes()))
    with SqliteLog(f"sqlite:///{path}") as log:
        yield Site(log, tmp_path)


@pytest.mark.parametrize("site", ["future"], indirect=True)
def test_a_log_moved_to_the_year_2100_says_so_and_can_be_left_behind(site: Site) -> None:
    new = site.honest(30)

    with pytest.raises(JoinerError, match=r"has come as far as 4102.*--from-now --until-caught-up"):
        site.join()
    left = site.joiner().leave_behind()
    site.join()
    assert left == 30 + 30 + 2
    assert not new & site.examples().keys()

    new = site.honest(30)
    site.join()
    assert {name: label for name, label in site.examples().items() if name in new} == dict.fromkeys(new, 1)


@pytest.mark.parametrize("site", ["future"], indirect=True)
def test_what_was_learned_from_the_year_2100_is_arrived_at_again_and_no_longer_said_to_be_of_then(site: Site) -> None:
    before = site.versions()[-1]
    assert before.trained_through is not None
    assert before.trained_through > time.time() * 1000

    example = Example("direct", int(time.time() * 1000), {"user": "u"}, 1)
    site.log.append([Message(TOPICS.examples, b"direct", encode(example))])
    after = site.learn()

    assert after.examples == before.examples + 1
    assert after.trained_through is not None
    assert after.trained_through <= time.time() * 1000


@pytest.mark.parametrize("site", ["seconds"], indirect=True)
def test_a_log_that_taught_that_nobody_clicks_is_joined_rightly_from_here_on_and_the_weights_go_back_to_before(site: Site) -> None:
    good, new = next(version for version in site.versions() if version.examples), site.honest(30)

    site.join()
    assert {name: label for name, label in site.examples().items() if name in new} == dict.fromkeys(new, 1)

    site.learn()
    back = roll_back(site.log, TOPICS, SPEC, site.learning, good.version, replay=False)
    assert back.digest == good.digest


@pytest.mark.parametrize("site", ["weight"], indirect=True)
def test_weights_that_hardly_learn_any_more_go_back_to_before_the_heavy_example_and_learn_the_rest_again(site: Site) -> None:
    before = site.versions()
    good = next(version for version in before if version.examples)

    roll_back(site.log, TOPICS, SPEC, site.learning, good.version, replay=True)
    after = site.learn()

    assert after.examples == before[-1].examples - 1
    (letter,) = site.records(TOPICS.dead_letters)
    assert letter.key == b"heavy"


@pytest.mark.parametrize("site", ["keys"], indirect=True)
def test_a_log_whose_clicks_lie_elsewhere_says_so_and_is_joined_by_copies_from_here_on(site: Site) -> None:
    site.honest(60, crc32=True)
    with pytest.raises(JoinerError, match=r"sml\.clicks: .*crc32 places them so.*\[join\] rekey = true"):
        site.join()
    rekeyed = JOIN.model_copy(update={"rekey": True})
    create(site.log, TOPICS, 4, rekey=True)
    with pytest.raises(JoinerError, match="--from-now"):
        site.join(rekeyed)
    before = site.examples()
    site.joiner(rekeyed).leave_behind()

    new = site.honest(30, crc32=True)
    site.join(rekeyed)

    assert site.examples() == before | dict.fromkeys(new, 1)
