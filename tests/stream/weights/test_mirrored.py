"""In another region topics are copies whose offsets are others: learning goes on there as here, and no server takes one version for another."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.log.contract import Log, Message
from stream.log.topics import DELTAS, SNAPSHOTS
from stream.weights.archive import Archive
from tests.stream.learn.saving.test_archive import server
from tests.stream.learning import TOPICS, examples, forget, learn_all, opened, records

SHIFTS = {(TOPICS.examples, 0): 4, (TOPICS.versions, 0): 2, (TOPICS.weights, DELTAS): 3, (TOPICS.weights, SNAPSHOTS): 5}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Log]:
    """Open the log of this region; two snapshots are in it, and deltas after each."""
    folder = tmp_path / "here"
    folder.mkdir()
    with opened(folder) as log:
        for first in (0, 20, 40):
            log.append(examples(20, first=first))
            learn_all(log, folder, archive=Archive(f"file://{tmp_path}/archive", 0.0))
        yield log


@pytest.fixture
def there(tmp_path: Path, here: Log) -> Iterator[Log]:
    """Open another region's log: what a mirror has copied, at offsets of its own."""
    folder = tmp_path / "there"
    folder.mkdir()
    with opened(folder) as log:
        for (topic, partition), shift in SHIFTS.items():
            log.append([Message(topic, b"", b"gone", partition=partition)] * shift)
            forget(folder, topic, partition, shift)
            log.append([Message(topic, each.key, each.value, each.headers, partition) for each in records(here, topic, partition)])
        yield log


def test_a_learner_of_mirrored_examples_ends_with_the_weights_of_the_one_where_they_come_from(here: Log, tmp_path: Path) -> None:
    """Weights depend on the order of the examples, not on their offsets: so examples are what to mirror."""
    last = learn_all(here, tmp_path / "here")
    (tmp_path / "there").mkdir()
    with opened(tmp_path / "there") as log:
        log.append([Message(TOPICS.examples, b"", b"gone", partition=0)] * 4)
        forget(tmp_path / "there", TOPICS.examples, 0, 4)
        log.append([Message(TOPICS.examples, each.key, each.value, each.headers, 0) for each in records(here, TOPICS.examples)])

        mirrored = learn_all(log, tmp_path / "there")

    assert (mirrored.digest, mirrored.examples) == (last.digest, 60)
    assert mirrored.offsets != last.offsets


def test_mirrored_weights_whose_offsets_are_others_are_said_to_be_broken_and_not_served(
    there: Log, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), server(there, None) as served:
        end = time.monotonic() + 10
        while "starting again from a snapshot" not in caplog.text and time.monotonic() < end:
            time.sleep(0.01)

    assert "starting again from a snapshot" in caplog.text
    assert served.headers == []


def test_a_server_of_mirrored_weights_serves_the_archive_which_has_no_offsets(here: Log, there: Log, tmp_path: Path) -> None:
    last = learn_all(here, tmp_path / "here")

    with server(there, Archive(f"file://{tmp_path}/archive", 0.0)) as served:
        end = time.monotonic() + 10
        while not served.caught_up and time.monotonic() < end:
            time.sleep(0.01)

    assert [header.digest for header in served.headers] == [last.digest]
