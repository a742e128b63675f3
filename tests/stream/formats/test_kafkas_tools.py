"""Kafka's console tools and kcat read what we write, and write what we read."""

import json
import subprocess
import uuid
from collections.abc import Callable
from typing import TypeAlias

import pytest
from prometheus_client import CollectorRegistry

from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.log.connect import connect
from stream.log.contract import Message
from stream.log.reading import read_all
from stream.log.topics import Topics, create
from stream.records.events import Click, Example, Impression, Watermark, decode_example, encode
from stream.records.heartbeat import is_heartbeat
from stream.settings import JoinSettings
from tests.helpers.kafka_server import JARS
from tests.helpers.system import need

FIRST = 1_700_000_000_000  # epoch ms
SETTINGS = JoinSettings(click_window=10, lateness=1, idle_after=3_600)

Tool: TypeAlias = Callable[[str, str, str], str]  # broker, topic and what is written, a line for each record: KEY|VALUE → what is read


def _run(words: list[str], lines: str = "") -> str:
    done = subprocess.run(words, input=lines, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def console(broker: str, topic: str, lines: str) -> str:
    """Run the console producer, or the console consumer if there is nothing to write."""
    java = ["java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", f"{JARS}/*"]
    to = ["--bootstrap-server", broker, "--topic", topic]
    if lines:
        reader = ["--property", "parse.key=true", "--property", "key.separator=|"]
        return _run([*java, "org.apache.kafka.tools.ConsoleProducer", *to, *reader], lines)
    printed = ["--property", "print.key=true", "--property", "key.separator=|"]
    wait = ["--from-beginning", "--timeout-ms", "5000", "--max-messages", "1", "--isolation-level", "read_committed"]
    return _run([*java, "org.apache.kafka.tools.consumer.ConsoleConsumer", *to, *printed, *wait])


def kcat(broker: str, topic: str, lines: str) -> str:
    """Run kcat; it places keys as Java's clients do, if it is told to."""
    kcat = [need("kcat"), "-b", broker, "-t", topic]
    if lines:
        return _run([*kcat, "-P", "-K", "|", "-X", "topic.partitioner=murmur2_random"], lines)
    return _run([*kcat, "-C", "-K", "|", "-e", "-q", "-X", "isolation.level=read_committed"])


@pytest.mark.parametrize("tool", [console, kcat])
def test_a_tool_writes_what_we_join_and_reads_what_we_write(kafka: str, tool: Tool) -> None:
    topics, broker = Topics(f"tools-{uuid.uuid4().hex[:8]}"), kafka.removeprefix("kafka://")
    shown, clicked = Impression("a", FIRST, {"user": "u1", "price": 9.5}), Click("a", FIRST + 500, 2.5)
    with connect(kafka) as log:
        create(log, topics, 3)

        tool(broker, topics.impressions, f"a|{encode(shown).decode()}\n")
        tool(broker, topics.clicks, f"a|{encode(clicked).decode()}\n")
        inputs = topics.impressions, topics.clicks
        log.append([Message(topic, None, encode(Watermark(FIRST + 60_000)), partition=p) for topic in inputs for p in range(3)])
        Joiner(log, topics, SETTINGS, JoinerMetrics(CollectorRegistry())).run(lambda: False, until_caught_up=True)
        (joined,) = [decode_example(each.value) for each in read_all(log, topics.examples) if not is_heartbeat(each)]
        key, _, value = tool(broker, topics.examples, "").strip().partition("|")

    assert joined == Example("a", FIRST, dict(shown.features), 1, value=2.5, clicked_at=FIRST + 500)
    assert (key, json.loads(value)) == ("a", json.loads(encode(joined)))
