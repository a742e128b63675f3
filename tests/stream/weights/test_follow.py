"""A follower reaches the learner's weights by snapshot and deltas, and the weights in service are always of one version."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from model.encoding.features import Encoder
from model.online import OnlineModel
from model.weights import Weights
from stream.learn.saving.checkpoint import Checkpoints
from stream.log.contract import Log, Message
from stream.log.topics import DELTAS, SNAPSHOTS
from stream.records.version import LearnerState, Version
from stream.weights.chunks import BrokenWeightsError, Packed, WeightsHeader
from stream.weights.double_buffer import DoubleBuffer
from stream.weights.follow import Follower
from stream.weights.metrics import FollowerMetrics
from tests.stream.learning import SPEC, TOPICS, all_versions, examples, forget, learn_all, learner, opened, polls, records, tamper


class Service:
    """Takes weights, and checks that the earlier weights in service were not changed."""

    def __init__(self) -> None:
        self.caught_up = False
        self.held: Version | None = None
        self.learner: LearnerState | None = None
        self.taken: list[WeightsHeader] = []
        self.weights = Weights(SPEC)
        self.arrived = threading.Condition()

    def hand_over(self, header: WeightsHeader, weights: Weights) -> None:
        """Put weights into service."""
        if self.taken:
            assert self.weights.digest() == self.taken[-1].digest
            assert self.weights is not weights
        assert weights.digest() == header.digest
        with self.arrived:
            self.weights = weights
            self.taken.append(header)
            self.arrived.notify_all()

    def wait_for(self, version: int) -> None:
        """Wait until this version or a later one is in service."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: bool(self.taken) and self.taken[-1].version >= version, timeout=60)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """Yield an empty log."""
    with opened(tmp_path) as log:
        yield log


@contextmanager
def following(log: Log, registry: CollectorRegistry | None = None) -> Iterator[Service]:
    """Run a follower beside the block."""
    service, stop = Service(), threading.Event()
    follower = Follower(log, TOPICS, service, FollowerMetrics(registry or CollectorRegistry()))
    thread = threading.Thread(target=follower.run, args=(stop.is_set,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        stop.set()
        thread.join()


def follow_to_the_end(log: Log) -> Service:
    """Follow until caught up."""
    service = Service()
    Follower(log, TOPICS, service, FollowerMetrics(CollectorRegistry())).run(lambda: service.caught_up)
    return service


def test_a_follower_comes_to_the_learners_weights(log: Log, tmp_path: Path) -> None:
    log.append(examples(200))
    last = learn_all(log, tmp_path)

    service = follow_to_the_end(log)

    assert (service.taken[-1].version, service.taken[-1].digest) == (last.version, last.digest)
    assert (service.taken[-1].examples, service.taken[-1].trained_through) == (200, last.trained_through)
    assert service.taken[-1].published_at == last.published_at


def test_it_predicts_as_the_learner_does_bit_for_bit(log: Log, tmp_path: Path) -> None:
    log.append(examples(200))
    learn_all(log, tmp_path)
    model = next(Checkpoints(tmp_path / "checkpoints", 3).newest_first()).restore().model
    features, _ = Encoder(SPEC.fields).encode([{"user": n, "item": 2 * n, "price": n / 7} for n in range(80)], [0] * 80)

    service = follow_to_the_end(log)

    np.testing.assert_array_equal(service.weights.predict(features), model.weights.predict(features))


def test_a_follower_sees_every_versions_digest_while_the_learner_learns(log: Log, tmp_path: Path) -> None:
    with following(log) as service:
        for round_ in range(5):
            log.append(examples(40, first=40 * round_))
            service.wait_for(learn_all(log, tmp_path, snapshot_every=0.0).version)

    published = {version.version: version.digest for version in all_versions(log)}
    assert len(service.taken) >= 5
    assert all(published[header.version] == header.digest for header in service.taken)
    assert [header.version for header in service.taken] == sorted(header.version for header in service.taken)


def test_a_follower_waits_for_the_first_version(log: Log, tmp_path: Path) -> None:
    with following(log) as service:
        assert not service.caught_up

        learn_all(log, tmp_path)

        service.wait_for(0)


def test_a_follower_starts_from_the_newest_snapshot(log: Log, tmp_path: Path) -> None:
    for round_ in range(3):
        log.append(examples(40, first=40 * round_))
        learner(log, tmp_path, snapshot_every=0.0).run(polls(8))
    newest = all_versions(log)[-1].snapshot
    assert newest
    assert newest.version > 0
    forget(tmp_path, TOPICS.weights, SNAPSHOTS, newest.first)
    forget(tmp_path, TOPICS.weights, DELTAS, newest.deltas)

    assert follow_to_the_end(log).taken[-1].digest == all_versions(log)[-1].digest


def break_delta(folder: Path, log: Log) -> None:
    """Spoil the last delta that the log holds."""
    last = records(log, TOPICS.weights, DELTAS)[-1]
    tamper(folder, TOPICS.weights, DELTAS, last.offset, b"?" + (last.value or b"")[1:])


def lose_delta(folder: Path, log: Log) -> None:
    """Replace an earlier delta by the last one, as if the deltas between had been lost."""
    first, last = records(log, TOPICS.weights, DELTAS)[1], records(log, TOPICS.weights, DELTAS)[-1]
    tamper(folder, TOPICS.weights, DELTAS, first.offset, last.value or b"")


@pytest.mark.parametrize("spoil", [break_delta, lose_delta])
def test_a_gap_starts_again_from_a_snapshot(
    spoil: Callable[[Path, Log], None], log: Log, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    learn_all(log, tmp_path)
    for first in (0, 20):
        log.append(examples(20, first=first))
        learn_all(log, tmp_path)
    spoil(tmp_path, log)
    forget(tmp_path, TOPICS.weights, SNAPSHOTS, log.bounds(TOPICS.weights)[SNAPSHOTS].end)  # so that the learner writes a new one

    registry = CollectorRegistry()
    with caplog.at_level(logging.WARNING), following(log, registry) as service:
        last = learn_all(log, tmp_path)
        service.wait_for(last.version)

    assert last.snapshot
    assert (registry.get_sample_value("sml_follower_gaps_total") or 0) > 0
    assert last.snapshot.version == last.version
    assert service.taken[-1].digest == last.digest


def test_a_snapshot_that_the_log_does_not_hold_is_not_waited_for(log: Log, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As if the log had lost its end: the next learner writes another snapshot."""
    log.append(examples(20))
    learn_all(log, tmp_path)
    for published in records(log, TOPICS.versions):
        version = json.loads(published.value or b"")
        version["snapshot"] |= {"last": 1000}
        tamper(tmp_path, TOPICS.versions, 0, published.offset, json.dumps(version).encode())

    with caplog.at_level(logging.WARNING), following(log) as service:
        while "starting again from a snapshot" not in caplog.text:
            time.sleep(0.01)
        last = learn_all(log, tmp_path / "elsewhere")
        service.wait_for(last.version)

    assert last.snapshot
    assert last.snapshot.version == last.version


def test_the_weights_in_service_stay_until_there_are_others_that_fit(log: Log, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log.append(examples(20))
    with caplog.at_level(logging.WARNING), following(log) as service:
        first = learn_all(log, tmp_path)
        service.wait_for(first.version)
        log.append([Message(TOPICS.weights, b"", b"of somebody else", partition=DELTAS)])
        while "starting again from a snapshot" not in caplog.text:
            time.sleep(0.01)

        assert service.weights.digest() == first.digest

        log.append(examples(20, first=20))
        forget(tmp_path, TOPICS.weights, SNAPSHOTS, log.bounds(TOPICS.weights)[SNAPSHOTS].end)
        second = learn_all(log, tmp_path)
        service.wait_for(second.version)
    assert service.taken[-1].digest == second.digest


def header_of(model: OnlineModel, version: int) -> WeightsHeader:
    """Return the header of the weights of ``model``."""
    return WeightsHeader(version, version - 1, model.digest(), model.examples, None, 0)


def learned(model: OnlineModel, seed: int) -> OnlineModel:
    """Learn some examples."""
    random = np.random.default_rng(seed)
    examples = [{"user": int(random.integers(30)), "price": float(random.random())} for _ in range(20)]
    model.learn(Encoder(SPEC.fields).encode(examples, [0] * 20).features, (random.random(20) < 0.3).astype(np.float32))
    return model


def test_both_copies_come_to_the_same_weights() -> None:
    model = OnlineModel(SPEC)
    double_buffer = DoubleBuffer(header_of(model, 0), Weights(SPEC))
    in_service: list[Weights] = []

    for version in range(1, 6):
        learned(model, version)
        double_buffer.apply([Packed(header_of(model, version), model.changes(), {})])
        model.mark_published()
        double_buffer.hand_over(lambda _, weights: in_service.append(weights))

        assert in_service[-1].digest() == model.digest()

    assert in_service[0] is in_service[2] is in_service[4]
    assert in_service[1] is in_service[3] is not in_service[0]


def test_nothing_is_handed_over_twice() -> None:
    model = OnlineModel(SPEC)
    double_buffer = DoubleBuffer(header_of(model, 3), Weights(SPEC))

    assert double_buffer.hand_over(lambda *_: None)
    double_buffer.apply([Packed(header_of(model, 3), model.changes(), {})])  # the snapshot has it

    assert not double_buffer.hand_over(lambda *_: None)


def test_weights_that_are_not_those_published_are_refused() -> None:
    model = OnlineModel(SPEC)
    double_buffer = DoubleBuffer(header_of(model, 0), Weights(SPEC))
    before = model.changes()
    learned(model, 1)

    with pytest.raises(BrokenWeightsError, match="expected"):
        double_buffer.apply([Packed(header_of(model, 1), before, {})])
