"""A hostile hour: while a site is attacked from all sides, honest requests are answered and every honest event is learned once.

``SML_HOSTILE=600`` runs it for ten minutes; `make test` for a quarter of one.
"""

import itertools
import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from stream.events import BadRecordError, decode_example
from stream.log.connect import connect
from stream.log.contract import Record
from stream.log.topics import create
from tests.faults.soak import megabytes
from tests.faults.traffic import SETTINGS, _learned, everything
from tests.hostile.attacks import ATTACKS
from tests.hostile.honest import HONEST, Honest
from tests.site import Site

SECONDS = float(os.environ.get("SML_HOSTILE", "15"))
PROCESSES = ("join", "learn", "serve")
GROWTH = 60.0  # MB that a process may grow by

pytestmark = [pytest.mark.faults, pytest.mark.timeout(SECONDS + 600)]


def learned_labels(records: list[Record]) -> list[tuple[str, int]]:
    """Return the id and the label of each honest example."""
    found = []
    for record in records:
        try:
            example = decode_example(record.value)
        except BadRecordError:
            continue
        if example and example.impression_id.startswith(f"{HONEST}-"):
            found.append((example.impression_id, int(example.label)))
    return found


def test_a_site_under_attack_answers_the_honest_and_learns_each_of_their_events_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sml.toml").write_text(SETTINGS.replace('"1h"', '"1s"'))
    site, seed = Site(tmp_path, f"sqlite:///{tmp_path}/log.db"), time.time_ns()
    chance, done = random.Random(seed), Counter[str]()
    with connect(site.url) as log:
        create(log, site.topics, 2)
    with site.running(*PROCESSES):
        site.wait_for(lambda: site.get("serve", "/readyz").is_success, "weights at the server")
        honest = Honest(f"http://127.0.0.1:{site.ports['serve']}")
        honest.start()
        site.wait_for(lambda: site.metric("learn", "sml_learner_examples_total") > 0, "a first example")
        before = {name: megabytes(site, name) for name in PROCESSES}
        end = time.monotonic() + SECONDS
        for attack in itertools.takewhile(lambda _: time.monotonic() < end, itertools.cycle(ATTACKS)):
            attack(site, chance)
            done[attack.__name__] += 1
            assert {name: process.poll() for name, process in site.processes.items()} == dict.fromkeys(PROCESSES), f"seed {seed}"
        honest.finish()
        grown = {name: round(megabytes(site, name) - before[name], 1) for name in PROCESSES}
        with connect(site.url) as log:

            def labels() -> list[tuple[str, int]]:
                return learned_labels(everything(log, site.topics.examples))

            site.wait_for(lambda: len(labels()) >= len(honest.expected), "every honest impression's example", 60)
            site.wait_for(lambda: site.metric("learn", "sml_learner_lag_records") == 0, "the learner", 60)
            found = labels()

    with connect(site.url) as log:
        learned = learned_labels(_learned(log, site.topics, everything(log, site.topics.examples)))  # by the runs of the versions

    with capsys.disabled():
        answered = f"honest requests {honest.asked}, refused {len(honest.refused)}, events learned {len(found)}"
        print(f"\n{SECONDS:.0f} s: {dict(done)}; {answered}; grown by {grown} MB; seed {seed}")  # noqa: T201 - the result
    assert len(honest.refused) <= 0.001 * honest.asked, honest.refused[:5]
    assert len(found) == len(dict(found)), "an impression was learned twice"
    assert dict(found) == honest.expected
    assert sorted(learned) == sorted(found)
    assert max(grown.values()) < GROWTH, grown
