"""A log in a bad state: topics missing or with other partitions, records deleted, compressed or too large, commits forgotten.

A process goes on if it can; else it ends with a message and exit status 1, and never guesses.
"""

import json
import resource
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import chdir, closing
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.structs import TopicPartition
from typer.testing import CliRunner, Result

from service.cli import app
from stream.log.connect import connect
from stream.log.contract import Log, Message
from stream.log.topics import create
from stream.records.events import Example, Impression, Watermark, encode
from tests.faults.traffic import FIRST, Traffic, everything, learned, settle
from tests.helpers.kafka_server import JARS
from tests.helpers.site import Site
from tests.stream.learning import forget

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.fixture
def log(site: Site) -> Iterator[Log]:
    """Open the site's log."""
    with connect(site.url) as log:
        yield log


def call(site: Site, *words: str) -> Result:
    """Run a command in this process, where all modules are loaded already."""
    with chdir(site.folder):
        return CliRunner().invoke(app, words, env=site.environment)


def answer(site: Site, *words: str) -> Any:
    """Run a command that succeeds; return the JSON value that it prints."""
    done = call(site, *words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1])


def example(number: int) -> bytes:
    """Make up an example."""
    return encode(Example(f"i{number}", FIRST + number, {"user": f"u{number % 50}"}, 1 if number % 2 else 0))


def examples(site: Site, count: int, first: int = 0) -> list[Message]:
    """Make up ``count`` examples."""
    return [Message(site.topics.examples, f"i{n}".encode(), example(n)) for n in range(first, first + count)]


def forget_before(site: Site, topic: str, offset: int) -> None:
    """Delete the records of partition 0 before ``offset``, as retention does."""
    if site.url.startswith("sqlite"):
        forget(site.folder, topic, 0, offset)
        return
    admin = KafkaAdminClient(bootstrap_servers=site.url.removeprefix("kafka://"))
    admin.delete_records({TopicPartition(topic, 0): offset})
    admin.close()


def forget_progress(site: Site) -> None:
    """Delete committed offsets, as Kafka does after a long time."""
    if site.url.startswith("sqlite"):
        with closing(sqlite3.connect(site.folder / "log.db")) as connection:
            connection.execute("DELETE FROM progress")
            connection.commit()
        return
    admin = KafkaAdminClient(bootstrap_servers=site.url.removeprefix("kafka://"))
    admin.delete_groups([f"{site.topics.prefix}.{name}" for name in ("joiner", "learner")])
    admin.close()


@pytest.mark.parametrize("command", ["learn", "join"])
def test_missing_topics_of_kafka_are_named_at_the_start(kafka_site: Site, command: str) -> None:
    done = call(kafka_site, command)

    assert done.exit_code == 1
    assert f"topic '{kafka_site.topics.prefix}." in done.stderr
    assert "create" in done.stderr.splitlines()[-1]


def test_unequal_partitions_are_named_at_the_start(site: Site, log: Log) -> None:
    log.create(site.topics.clicks, 3)
    create(log, site.topics, 2)

    done = call(site, "join")

    assert done.exit_code == 1
    assert "expected equal numbers of partitions" in done.stderr


def test_too_few_partitions_are_named_at_the_start(site: Site, log: Log) -> None:
    log.create(site.topics.weights, 1)
    create(log, site.topics, 2)

    done = call(site, "learn")

    assert done.exit_code == 1
    assert f"expected 2 partitions of {site.topics.weights}, got 1" in done.stderr


def test_examples_deleted_before_they_were_learned_stop_the_learner_until_the_gap_is_accepted(site: Site, log: Log) -> None:
    create(log, site.topics, 1)
    log.append(examples(site, 30))
    forget_before(site, site.topics.examples, 10)
    answer(site, "learn", "--until-caught-up")  # what was deleted before there was a model is no gap
    log.append(examples(site, 30, first=30))
    forget_before(site, site.topics.examples, 45)

    refused = call(site, "learn", "--until-caught-up")
    accepted = answer(site, "learn", "--until-caught-up", "--accept-gap")

    assert refused.exit_code == 1
    assert "examples 30 to 44 of partition 0 were deleted before they were learned; --accept-gap" in refused.stderr
    assert accepted["examples"] == 20 + 15


def test_a_joiner_whose_commits_expired_refuses_to_start_and_a_learner_does_not_need_them(site: Site, log: Log) -> None:
    create(log, site.topics, 1)
    shown = [Message(site.topics.impressions, f"{n}".encode(), encode(Impression(f"{n}", FIRST + n, {"user": "u"}))) for n in range(20)]
    end = encode(Watermark(FIRST + 60_000))
    log.append([*shown, Message(site.topics.impressions, None, end, partition=0), Message(site.topics.clicks, None, end, partition=0)])
    call(site, "join", "--until-caught-up")
    before = answer(site, "learn", "--until-caught-up")

    forget_progress(site)
    refused = call(site, "join")
    after = answer(site, "learn", "--until-caught-up")

    assert before["examples"] == 20
    assert refused.exit_code == 1
    assert "there is no progress of" in refused.stderr
    assert after == before


def test_an_event_above_the_limit_is_set_aside(site: Site, log: Log) -> None:
    create(log, site.topics, 1)
    large = Impression("large", FIRST, {"user": "u" * 950_000})
    small = Impression("small", FIRST, {"user": "u"})
    log.append([Message(site.topics.impressions, one.impression_id.encode(), encode(one)) for one in (large, small)])
    log.append(
        [Message(topic, None, encode(Watermark(FIRST + 60_000)), partition=0) for topic in (site.topics.impressions, site.topics.clicks)]
    )

    call(site, "join", "--until-caught-up")
    learned = answer(site, "learn", "--until-caught-up")

    assert learned["examples"] == 1
    (letter,) = everything(log, site.topics.dead_letters)
    assert b"expected at most" in dict(letter.headers)["__connect.errors.exception.message"]
    assert dict(letter.headers)["__connect.errors.offset"] == b"0"


def test_what_other_clients_compress_is_learned(kafka_site: Site) -> None:
    site, count = kafka_site, 100
    with connect(site.url) as log:
        create(log, site.topics, 1)
    server = site.url.removeprefix("kafka://")
    command = ["java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", f"{JARS}/*", "org.apache.kafka.tools.ConsoleProducer"]
    options = ["--bootstrap-server", server, "--topic", site.topics.examples]
    codecs = ["gzip", "lz4", "zstd", "snappy"]
    producers = [subprocess.Popen([*command, *options, "--compression-codec", codec], stdin=subprocess.PIPE) for codec in codecs]
    for n, producer in enumerate(producers):
        assert producer.stdin
        producer.stdin.write(b"".join(example(n * count + m) + b"\n" for m in range(count)))
        producer.stdin.close()
    assert [producer.wait(120) for producer in producers] == [0] * len(codecs)

    assert answer(site, "learn", "--until-caught-up")["examples"] == count * len(codecs)


def test_a_checkpoint_folder_that_takes_nothing_does_not_stop_learning(kafka_site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site = kafka_site
    site.environment["SML_LEARN__DIRECTORY"] = "/proc/checkpoints"
    with connect(site.url) as log:
        create(log, site.topics, 1)
        log.append(examples(site, 500))

        done = call(site, "learn", "--until-caught-up")

        assert done.exit_code == 1  # the last checkpoint is missing
        assert "could not be saved, learning goes on" in caplog.text
        assert len(everything(log, site.topics.versions)) > 0
        assert json.loads(everything(log, site.topics.versions)[-1].value or b"")["examples"] == 500


def test_a_disk_that_fills_up_does_not_stop_learning(kafka_site: Site, tmp_path: Path) -> None:
    site = kafka_site
    with connect(site.url) as log:
        create(log, site.topics, 1)
        traffic = Traffic(site.url, site.topics, 1)
        traffic.start()
        site.start("join")
        learner = site.start("learn")
        checkpoints = tmp_path / "data" / "checkpoints"
        site.wait_for(lambda: any(checkpoints.glob("*.checkpoint")), "a checkpoint")
        resource.prlimit(learner.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
        site.wait_for(lambda: site.metric("learn", "sml_learner_checkpoint_failures_total") >= 2, "two failures")
        traffic.finish()
        site.wait_for(lambda: learned(site.url, site.topics) == traffic.learnable, "the rest")
        ended = site.end()

        assert ended == {"join": 0, "learn": 1}  # the last checkpoint is missing
        assert "could not be saved, learning goes on" in site.said("learn")
        assert settle(log, site.topics, traffic.expected).balance() == 0
    assert not [entry for entry in answer(site, "snapshots", "verify") if entry["problem"]]
