"""A hostile hour: while a site is attacked from all sides, honest requests are answered and every honest event is learned once.

``SML_HOSTILE=600`` runs it for ten minutes on each kind of log; `make test` makes each attack once, on the log of one kind or on both.
"""

import itertools
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from model.evaluation.scores import RunningScores
from model.online import OnlineModel
from stream.learn.trainer import Trainer
from stream.log.connect import connect
from stream.log.contract import Log, Record
from stream.log.topics import Topics, create
from stream.records.events import BadRecordError, decode_example
from stream.weights.versions import newest_version, read_versions
from tests.faults.soak import megabytes
from tests.faults.traffic import SPEC, everything, learned_in_order
from tests.hostile import attacks, damage, rubbish
from tests.hostile.honest import HONEST, Honest
from tests.hostile.keyed_site import PROCESSES, KeyedSite

SECONDS = float(os.environ.get("SML_HOSTILE", "0"))
GROWTH = 60.0  # MB that a process, or the one that took its place, may have more than at the beginning
Attack: TypeAlias = Callable[[KeyedSite, random.Random], None]
# What is the same on any log is made on one in `make test`: the requests, and damage to files.
ON_ANY: tuple[Attack, ...] = (
    attacks.odd_requests,
    attacks.wrong_keys,
    attacks.other_sites,
    attacks.large_bodies,
    attacks.slow_connections,
    attacks.flood_of_connections,
    attacks.few_files,
    damage.damaged_checkpoint,
)
ON_EACH: tuple[Attack, ...] = (
    attacks.flood_of_requests,
    rubbish.odd_events,
    rubbish.odd_dead_letters,
    rubbish.odd_versions,
    rubbish.odd_weights,
    damage.full_disk,
    damage.damaged_progress,
)

pytestmark = [pytest.mark.faults, pytest.mark.timeout(SECONDS + 900), pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")]


@pytest.fixture(params=["sqlite", "kafka"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> KeyedSite:
    """Return a site on each kind of log, with its topics."""
    site = KeyedSite(tmp_path, f"sqlite:///{tmp_path}/log.db" if request.param == "sqlite" else request.getfixturevalue("kafka"))
    with connect(site.url) as log:
        create(log, site.topics, 2)
    return site


def test_a_site_under_attack_answers_the_honest_and_learns_each_of_their_events_once(
    site: KeyedSite, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = time.time_ns()
    honest = Honest(site.server, site.honest)
    with site.running(*PROCESSES):
        site.wait_for(lambda: site.get("serve", "/readyz").is_success, "weights at the server")
        honest.start()
        try:
            site.wait_for(lambda: site.metric("learn", "sml_learner_examples_total") >= 20, "the first examples")
            done, grown = attack(site, seed)
        finally:
            honest.finish()
        with connect(site.url) as log:
            site.wait_for(lambda: len(labels(everything(log, site.topics.examples))) >= len(honest.expected), "all examples", 120)
            site.wait_for(lambda: site.metric("learn", "sml_learner_lag_records") == 0, "the learner", 120)
        site.kill("serve")
        site.start("serve")  # it finds a snapshot among the rubbish
        site.wait_for(lambda: site.get("serve", "/readyz").is_success, "weights at a new server", 120)

    with connect(site.url) as log:
        learned, digest = learned_offline(log, site.topics)
        newest = newest_version(log, site.topics)
    with capsys.disabled():
        answered = f"honest requests {honest.asked}, not answered {len(honest.refused)}, events learned {len(learned)}"
        kind, refused = site.url.partition(":")[0], f"429 to others {site.answered_429}"
        print(f"\n{kind}, {SECONDS:.0f} s: {dict(done)}; {answered}; {refused}; grown by {grown} MB; seed {seed}")  # noqa: T201 - the result
    assert len(honest.refused) <= 0.001 * honest.asked, honest.refused[:5]
    assert len(learned) == len(dict(learned)), "an impression was learned twice"
    assert dict(learned) == honest.expected
    assert newest
    assert newest.version.digest == digest
    assert max(grown.values()) < GROWTH, grown
    assert site.answered_429 > 0, "no flood was refused"


def attack(site: KeyedSite, seed: int) -> tuple[Counter[str], dict[str, float]]:
    """Make every attack, again and again until the time is over; return how often each, and by how many MB each process has grown."""
    chance, done, end = random.Random(seed), Counter[str](), time.monotonic() + SECONDS
    before = {name: megabytes(site, name) for name in PROCESSES}
    grown = dict.fromkeys(PROCESSES, 0.0)
    once = ON_EACH if site.url.startswith("kafka") and not SECONDS else (*ON_ANY, *ON_EACH)
    rounds = itertools.chain(once, itertools.takewhile(lambda _: time.monotonic() < end, itertools.cycle(once)))
    for each in rounds:
        try:
            each(site, chance)
        except BaseException as error:
            error.add_note(f"while {each.__name__}, seed {seed}")
            raise
        done[each.__name__] += 1
        ended = {name: site.said(name)[-2000:] for name, process in site.processes.items() if process.poll() is not None}
        assert not ended, f"after {each.__name__}, seed {seed}: {ended}"
        grown = {name: max(grown[name], round(megabytes(site, name) - before[name], 1)) for name in PROCESSES}
    return done, grown


def learned_offline(log: Log, topics: Topics) -> tuple[list[tuple[str, int]], str]:
    """Learn again what the versions say, from nothing; return the honest examples among it, and the digest of the weights."""
    excluded = {place for version, _ in read_versions(log, topics, 0) for place in version.excluded}
    trainer, learned = Trainer(OnlineModel(SPEC), RunningScores()), list[tuple[str, int]]()
    for record in learned_in_order(log, topics, everything(log, topics.examples)):
        if trainer.learn([record], excluded).learned:
            learned += labels([record])
    return learned, trainer.model.digest()


def labels(records: list[Record]) -> list[tuple[str, int]]:
    """Return the id and the label of each honest example."""
    found = []
    for record in records:
        try:
            example = decode_example(record.value)
        except BadRecordError:
            continue
        if example.impression_id.startswith(f"{HONEST}-"):
            found.append((example.impression_id, int(example.label)))
    return found
