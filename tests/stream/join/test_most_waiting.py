"""A flood of impressions whose clicks never come ends the joiner with a sentence, before it ends the machine's memory."""

import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from stream.join.joiner import Joiner
from stream.join.matching.input_state import ResumePoint
from stream.join.matching.window import Join
from stream.join.metrics import JoinerMetrics
from stream.log.contract import Log, Message, Record
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import TooMuchWaitsError, create
from stream.records.events import Click, Impression, decode_impression, encode
from stream.settings import JoinSettings
from tests.stream.join.test_joiner import TOPICS, clicked, end, examples

TIME = 1_000_000
FEATURES = 300_000_000  # bytes of memory that a process may have beyond what its libraries take


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """Open a log with the joiner's topics."""
    with SqliteLog(f"sqlite:///{tmp_path / 'log.db'}") as opened:
        create(opened, TOPICS, 1)
        yield opened


def flood(log: Log, count: int, first: int = 0) -> None:
    """Write impressions with twenty features, all at one time."""
    for start in range(first, first + count, 5_000):
        numbers = range(start, min(start + 5_000, first + count))
        log.append([Message(TOPICS.impressions, b"i%d" % n, encode(_impression(n))) for n in numbers])


def _impression(number: int) -> Impression:
    return Impression(f"i{number}", TIME, {f"feature_{n}": f"value {number}" for n in range(20)})


def join(log: Log, most_waiting: int, policy: str = "window", registry: CollectorRegistry | None = None) -> None:
    settings = JoinSettings.model_validate({"label_policy": policy, "most_waiting": most_waiting, "idle_after": 3600})
    Joiner(log, TOPICS, settings, JoinerMetrics(registry or CollectorRegistry())).run(lambda: False, until_caught_up=True)


@pytest.mark.parametrize("policy", ["window", "fnw"])
def test_a_flood_ends_the_joiner_with_a_sentence_and_it_goes_on_once_it_may_have_more(log: Log, policy: str) -> None:
    flood(log, 10_000)
    log.append([clicked("i7", TIME + 1)])

    with pytest.raises(
        TooMuchWaitsError, match=r"impressions wait for their labels, .* expected at most 5,000,000, as join\.most_waiting says"
    ):
        join(log, 5_000_000, policy)
    with pytest.raises(TooMuchWaitsError):
        join(log, 5_000_000, policy)  # it is no better after a restart

    log.append([message._replace(value=b'{"watermark": 100000000}') for message in end(log)])
    registry = CollectorRegistry()
    join(log, 1_000_000_000, policy, registry)
    joined = [(each.impression_id, each.label) for each in examples(log)[0]]
    assert sorted(name for name, label in joined if not label) == sorted(f"i{n}" for n in range(10_000) if policy == "fnw" or n != 7)
    assert [name for name, label in joined if label] == ["i7"]


def test_what_waits_is_measured(log: Log) -> None:
    flood(log, 1_000)
    registry = CollectorRegistry()
    settings = JoinSettings(most_waiting=50_000_000, idle_after=3600)
    joiner, turns = Joiner(log, TOPICS, settings, JoinerMetrics(registry)), iter(range(20))

    joiner.run(lambda: next(turns, None) is None)

    assert registry.get_sample_value("sml_joiner_waiting_limit_bytes") == 50_000_000
    waiting = registry.get_sample_value("sml_joiner_waiting_bytes")
    assert waiting
    assert 700_000 < waiting < 1_400_000


@pytest.mark.parametrize("features", [2, 20])
def test_what_waits_takes_about_the_memory_that_is_said_and_little_beside_its_records(features: int) -> None:
    count, sizes = 20_000, 0
    join = Join(600_000, 60_000, ResumePoint(0), ResumePoint(0))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for n in range(count):
        made_up = Impression(f"impression-{n:09}", TIME + n, {f"feature_{each}": f"value {n}" for each in range(features)})
        value = bytes(bytearray(encode(made_up)))  # as long as it is: the encoder's own is larger
        record = Record(TOPICS.impressions, 0, 10**6 + n, TIME + n, None, value)
        event = decode_impression(record.value)
        join.add_impression(record, event, TIME + n)
        sizes += len(value)
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    assert taken / join.memory == pytest.approx(1, abs=0.2)
    assert (taken - sizes) / count < 200


def test_ids_of_a_thousand_characters_and_large_headers_count() -> None:
    join = Join(1_000, 0, ResumePoint(0), ResumePoint(0))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for n in range(1_000):
        name, headers = f"{n:04}" + "\u20ac" * 996, (("trace", bytes(5_000)),)  # each character takes two bytes
        shown, click = Impression(name, TIME + n, {}), Click("click " + name[:900], TIME + n)
        record = Record(TOPICS.impressions, 0, n, TIME + 10**6 + n, None, encode(shown), headers)  # a late comer
        join.add_impression(record, decode_impression(record.value), TIME + n)
        join.add_click(Record(TOPICS.clicks, 0, n, TIME + n, None, b""), click, TIME + n)
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    assert taken / join.memory == pytest.approx(1, abs=0.2)


def test_the_sentence_comes_before_the_memory_ends(tmp_path: Path) -> None:
    program = f"""
import resource, sys
from pathlib import Path
from tests.stream.join.test_most_waiting import join, flood
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import create
from tests.stream.join.test_joiner import TOPICS
with SqliteLog(sys.argv[1]) as log:
    create(log, TOPICS, 1)
    flood(log, 150_000)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (taken + {FEATURES},) * 2)
    join(log, 120_000_000)
"""

    done = subprocess.run(
        [sys.executable, "-c", program, f"sqlite:///{tmp_path / 'log.db'}"], capture_output=True, text=True, timeout=300, check=False
    )

    assert done.returncode == 1
    assert "TooMuchWaitsError" in done.stderr.splitlines()[-1]
