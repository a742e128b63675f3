"""A soak test: examples come at a steady rate for an hour. Memory must stay flat, the lag bounded, and the weights as learned offline.

    python -m tests.faults.soak --minutes 10 --rate 5000

The exit status is 1 if one of the three fails. A real Kafka is started, but with ``--sqlite``.
"""

import argparse
import itertools
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from model.evaluation.scores import RunningScores
from model.online import OnlineModel
from stream.learn.trainer import Trainer
from stream.log.connect import connect
from stream.log.contract import Log, Message
from stream.log.reading import read_all
from stream.log.topics import create
from stream.records.events import Example, encode
from stream.weights.versions import newest_version
from tests.faults.traffic import FIRST, SETTINGS, SPEC
from tests.helpers.kafka_server import KafkaServer, fetch_jars
from tests.helpers.site import Site

POOL = 50_000  # different examples, sent again and again
TICK = 0.1  # seconds between two batches
GROWTH = 1.1  # most growth of memory, from a quarter of the time to the end
LAG = 5.0  # most lag in seconds, from then on


class Sample(NamedTuple):
    """The state of the processes at one moment."""

    seconds: float
    sent: int
    learned: float
    lag_records: float
    staleness_seconds: float
    learner_mb: float
    server_mb: float


def pool(topic: str) -> list[Message]:
    """Make up ``POOL`` examples."""
    chance = np.random.default_rng(0)
    users, prices, labels = chance.zipf(1.3, POOL) % 100_000, chance.random(POOL), chance.random(POOL) < 0.2
    made_up = (
        Example(f"{n}", FIRST + n, {"user": f"u{user}", "price": round(float(price), 3)}, 1 if label else 0)
        for n, (user, price, label) in enumerate(zip(users, prices, labels, strict=True))
    )
    return [Message(topic, each.impression_id.encode(), encode(each)) for each in made_up]


def megabytes(site: Site, name: str) -> float:
    """Return the resident memory of a process."""
    status = Path(f"/proc/{site.processes[name].pid}/status").read_text()
    return round(int(status.split("VmRSS:")[1].split()[0]) / 1024, 1)


def soak(site: Site, log: Log, seconds: float, rate: float) -> tuple[list[Sample], int]:
    """Send examples and sample the processes; return the samples, and how many examples were sent."""
    samples: list[Sample] = []
    sent, stream = 0, itertools.cycle(pool(site.topics.examples))
    start = time.monotonic()
    while (passed := time.monotonic() - start) < seconds:
        due = round(passed * rate) - sent
        log.append(list(itertools.islice(stream, due)))
        sent += due
        if passed >= len(samples) * seconds / 20:
            samples.append(sample(site, passed, sent))
            print(json.dumps(samples[-1]._asdict()), file=sys.stderr)  # noqa: T201 - a script
        time.sleep(TICK)
    return samples, sent


def sample(site: Site, passed: float, sent: int) -> Sample:
    """Sample the processes."""
    learned, lag = site.metric("learn", "sml_learner_examples_total"), site.metric("learn", "sml_learner_lag_records")
    staleness = site.metric("serve", "sml_server_weights_age_seconds")
    return Sample(round(passed, 1), sent, learned, lag, round(staleness, 3), megabytes(site, "learn"), megabytes(site, "serve"))


def offline(log: Log, topic: str) -> str:
    """Learn the log's examples in their order; return the digest of the weights."""
    trainer, records = Trainer(OnlineModel(SPEC), RunningScores()), read_all(log, topic)
    while batch := list(itertools.islice(records, 1000)):
        trainer.learn(batch)
    return trainer.model.digest()


def main() -> None:
    """Run the soak test, and print the samples and the result."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=5000.0, help="examples a second")
    parser.add_argument("--sqlite", action="store_true", help="use a log in a file, not Kafka")
    given = parser.parse_args()
    if not given.sqlite and (problem := fetch_jars()):
        raise SystemExit(problem)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "sml.toml").write_text(SETTINGS)
        url = f"sqlite:///{folder}/log.db" if given.sqlite else stack.enter_context(KafkaServer()).url
        site = Site(folder, url)
        stack.callback(site.close)
        log = stack.enter_context(connect(url))
        create(log, site.topics, 1)
        site.start("learn")
        site.start("serve")
        site.wait_for(lambda: site.get("serve", "/readyz").is_success, "weights at the server")
        samples, sent = soak(site, log, given.minutes * 60, given.rate)
        site.wait_for(lambda: site.get("serve", "/v1/model").json()["examples"] == sent, "the rest")
        site.end()
        newest = newest_version(log, site.topics)
        settled = samples[len(samples) // 4 :]
        passed = {
            "memory flat": max(s.learner_mb for s in settled) <= GROWTH * settled[0].learner_mb
            and max(s.server_mb for s in settled) <= GROWTH * settled[0].server_mb,
            "lag bounded": max(s.lag_records for s in settled) <= LAG * given.rate,
            "digest equal to the offline one": newest is not None and newest.version.digest == offline(log, site.topics.examples),
        }
    print(json.dumps({"samples": [s._asdict() for s in samples], "held": passed}))  # noqa: T201 - a script
    sys.exit(not all(passed.values()))


if __name__ == "__main__":
    main()
