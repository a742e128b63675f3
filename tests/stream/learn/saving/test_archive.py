"""A learner that has lost its checkpoints, and a server that finds no snapshot, begin from the archive, whatever befalls it."""

import io
import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service.commands.models import snapshots
from service.settings import Settings
from stream.learn.errors import GapError
from stream.learn.order import give_order
from stream.learn.restore.rollback import roll_back
from stream.learn.saving.checkpoint import Checkpoints
from stream.log.contract import Log
from stream.log.topics import DELTAS, SNAPSHOTS, Topics
from stream.records.version import Archived, LearnerState, Version
from stream.settings import LearnSettings
from stream.weights import archive as archive_module
from stream.weights.archive import Archive, ArchiveError
from stream.weights.chunks import BrokenWeightsError, WeightsHeader
from stream.weights.follow import Follower
from stream.weights.metrics import FollowerMetrics
from stream.weights.versions import newest_version, read_versions
from tests.helpers.full_disk import full_disk
from tests.helpers.s3 import S3, s3_server, wait_for
from tests.stream.learn.forgetting import by, holds, request
from tests.stream.learning import (
    SPEC,
    TOPICS,
    all_versions,
    examples,
    forget,
    learn_all,
    learned_directly,
    learner,
    records,
    tamper,
)

SECRET = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    """Run an S3 server, and set the variables by which its clients know who they are."""
    with pytest.MonkeyPatch.context() as patch, s3_server() as server:
        patch.setenv("AWS_ACCESS_KEY_ID", "learner")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield server


@pytest.fixture
def archive(s3: S3, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """Return an archive of its own for each test; it copies every checkpoint, and does not wait long."""
    monkeypatch.setattr(archive_module, "_WAITS", (0.01, 0.01, 0.01))
    s3.faults.clear()
    s3.asked.clear()
    s3.let_pass.clear()
    return Archive(s3.url(f"bucket-{abs(hash(request.node.name))}"), every=0.0)


def put(archive: Archive, data: bytes = b"whole" * 1000) -> Archived:
    return archive.write(TOPICS, 7, io.BytesIO(data))


def place(archive: Archive, archived: Archived) -> str:
    """Return the path of an object on the server."""
    return f"/{archive._url.split('/')[2]}/models/{archive.name(TOPICS, archived)}"


def newest(log: Log) -> Version:
    published = newest_version(log, TOPICS)
    assert published
    return published.version


def learn_twice(log: Log, folder: Path, archive: Archive) -> Version:
    """Learn 20 examples and 20 more; then lose the checkpoints, and all that the log holds of the first."""
    log.append(examples(20))
    learn_all(log, folder, archive=archive)
    log.append(examples(20, first=20))
    last = learn_all(log, folder, archive=archive)
    shutil.rmtree(folder / "checkpoints")
    forget(folder, TOPICS.versions, 0, log.bounds(TOPICS.versions)[0].end - 2)  # all before the version that was archived last
    return last


class Served:
    """A service that notes what it serves."""

    def __init__(self) -> None:
        self.caught_up = False
        self.held: Version | None = None
        self.learner: LearnerState | None = None
        self.headers: list[WeightsHeader] = []

    def hand_over(self, header: WeightsHeader, weights: object) -> None:  # noqa: ARG002
        self.headers.append(header)


@contextmanager
def server(log: Log, archive: Archive | None) -> Iterator[Served]:
    """Run a new server's follower."""
    served, stop = Served(), threading.Event()
    follower = Follower(log, TOPICS, served, FollowerMetrics(CollectorRegistry()), archive=archive)
    thread = threading.Thread(target=follower.run, args=(stop.is_set,))
    thread.start()
    try:
        yield served
    finally:
        stop.set()
        thread.join()


def test_what_is_written_is_read_in_a_bucket_and_in_a_folder(archive: Archive, tmp_path: Path) -> None:
    local = Archive(f"file://{tmp_path}/deep/folder", 0.0)

    for each in (archive, local):
        archived = put(each)
        assert each.read(TOPICS, archived) == b"whole" * 1000
    assert [path.name for path in tmp_path.rglob("*.checkpoint")] == [Path(local.name(TOPICS, archived)).name]


def test_arms_models_and_contents_never_share_a_name(archive: Archive) -> None:
    names = {
        archive.name(topics, Archived(version, 1, sha256))
        for topics in (Topics("sml"), Topics("sml", arm="treatment"), Topics("other"))
        for version in (1, 12)
        for sha256 in ("a" * 64, "b" * 64)
    }

    assert len(names) == 12


@pytest.mark.parametrize("faults", [["busy"] * 2, ["cut"], ["gone", "gone"], ["busy", "cut"]])
def test_an_object_is_read_whole_though_storage_is_busy_cuts_it_or_does_not_show_it_yet(
    s3: S3, archive: Archive, faults: list[str]
) -> None:
    archived = put(archive)
    s3.faults.extend([("HEAD" if fault == "gone" else "GET", fault) for fault in faults])

    assert archive.read(TOPICS, archived) == b"whole" * 1000
    assert not s3.faults


def test_writing_goes_on_though_storage_is_busy_and_says_so_if_it_stays_so(s3: S3, archive: Archive) -> None:
    s3.faults.extend([("POST", "busy"), ("PUT", "busy")])
    assert archive.read(TOPICS, put(archive)) == b"whole" * 1000

    with pytest.raises(ArchiveError, match=r"learning.versions/version-000000000007-.* could not be written: .*NO_SUCH_BUCKET"):
        put(Archive(archive._url.replace("bucket-", "nobodys-"), 0.0))


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def forge(data: bytes) -> bytes:
    return bytes(len(data))


def swell(data: bytes) -> bytes:
    return data * 2


@pytest.mark.parametrize(
    ("spoil", "complaint"), [(cut, "got 2500 bytes, expected 5000"), (forge, "got the SHA-256"), (swell, "10000 bytes")]
)
def test_what_is_no_longer_as_it_was_archived_is_refused(s3: S3, archive: Archive, spoil: Callable[[bytes], bytes], complaint: str) -> None:
    archived = put(archive)
    s3.request("PUT", place(archive, archived), spoil(b"whole" * 1000))
    s3.asked.clear()

    with pytest.raises(ArchiveError, match=complaint):
        archive.read(TOPICS, archived)
    assert spoil is forge or not any(method == "GET" for method, *_ in s3.asked)  # of another size: nothing is even read


def test_a_learner_that_lost_its_checkpoints_ends_with_the_weights_of_one_that_did_not(
    s3: S3, archive: Archive, log: Log, tmp_path: Path
) -> None:
    before = learn_twice(log, tmp_path, archive)
    stream = records(log, TOPICS.examples)
    forget(tmp_path, TOPICS.examples, 0, 20)
    log.append(examples(10, first=40))
    stream += records(log, TOPICS.examples)[20:]

    last = learn_all(log, tmp_path, archive=archive)

    assert [archived.version for archived in before.archived] == sorted({archived.version for archived in before.archived})
    assert (last.examples, last.digest) == (50, learned_directly(stream))
    assert next(Checkpoints(tmp_path / "checkpoints", 3).newest_first()).version.examples == 50
    assert not any("list-type" in query or "prefix" in query for _, _, query in s3.asked)  # no listing, which may be out of date


@pytest.mark.parametrize("spoil", [cut, forge])
def test_a_learner_takes_the_copy_before_one_that_is_cut_forged_or_of_another_model(
    s3: S3, archive: Archive, log: Log, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    log.append(examples(20))
    learn_all(log, tmp_path, archive=archive)
    log.append(examples(20, first=20))
    last = learn_all(log, tmp_path, archive=archive)
    shutil.rmtree(tmp_path / "checkpoints")
    path = place(archive, last.archived[-1])
    s3.request("PUT", path, spoil(s3.request("GET", path)))

    assert learn_all(log, tmp_path, archive=archive).digest == last.digest
    assert len(last.archived) == 2


def test_while_storage_takes_nothing_learning_and_checkpoints_go_on_and_failures_are_counted(
    archive: Archive, log: Log, tmp_path: Path
) -> None:
    registry, away = CollectorRegistry(), Archive(archive._url.replace("bucket-", "nobodys-"), 0.0)
    log.append(examples(20))

    last = learn_all(log, tmp_path, archive=away, registry=registry)

    assert (last.examples, last.archived) == (20, [])
    assert next(Checkpoints(tmp_path / "checkpoints", 3).newest_first()).version == last
    assert registry.get_sample_value("sml_learner_archive_failures_total") == 1


def test_a_copy_that_finds_no_room_in_a_folder_leaves_nothing_of_it_there(tmp_path: Path) -> None:
    folder = Archive(f"file://{tmp_path}/folder", 0.0)
    before = put(folder)

    with pytest.raises(ArchiveError, match=r"could not be written: .*File too large: '.*/folder/learning.versions/version-"), full_disk():
        put(folder, b"larger" * 1000)

    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [Path(folder.name(TOPICS, before)).name]


def test_a_slow_copy_holds_up_neither_learning_nor_checkpoints(s3: S3, archive: Archive, log: Log, tmp_path: Path) -> None:
    s3.faults.append(("PUT", "slow"))
    log.append(examples(5))
    learns = learner(log, tmp_path, archive=archive, checkpoint_every=0.0)
    stop = threading.Event()
    thread = threading.Thread(target=learns.run, args=(stop.is_set,))
    thread.start()
    wait_for(lambda: not s3.faults)
    for first in range(5, 50, 5):
        log.append(examples(5, first=first))
    wait_for(lambda: any(each.version.examples == 50 for each in Checkpoints(tmp_path / "checkpoints", 3).newest_first()))

    assert not newest(log).archived
    s3.let_pass.set()
    stop.set()
    thread.join()
    assert newest(log).archived


def test_what_is_held_is_not_archived(archive: Archive, log: Log, tmp_path: Path) -> None:
    log.append(examples(20))
    good = learn_all(log, tmp_path, archive=archive)
    give_order(log, TOPICS, "hold", "me")
    log.append(examples(20, first=20))

    held = learn_all(log, tmp_path, archive=archive)

    assert held.held
    assert held.archived == good.archived != []


def test_a_rollback_leaves_behind_what_was_archived_after_the_version_that_it_goes_back_to(
    archive: Archive, log: Log, tmp_path: Path
) -> None:
    log.append(examples(20))
    first = learn_all(log, tmp_path, archive=archive)
    log.append(examples(20, first=20))
    second = learn_all(log, tmp_path, archive=archive)

    back = roll_back(log, TOPICS, SPEC, LearnSettings(directory=str(tmp_path / "checkpoints")), first.version, replay=False)

    assert second.archived != first.archived == back.archived


def test_a_server_that_finds_no_snapshot_serves_the_archive_until_the_learner_is_back(archive: Archive, log: Log, tmp_path: Path) -> None:
    last = learn_twice(log, tmp_path, archive)
    for partition in (DELTAS, SNAPSHOTS):
        forget(tmp_path, TOPICS.weights, partition, log.bounds(TOPICS.weights)[partition].end)

    with server(log, archive) as served:
        wait_for(lambda: served.caught_up)
        archived = served.headers[-1]
        log.append(examples(10, first=40))
        again = learn_all(log, tmp_path, archive=archive)
        wait_for(lambda: served.headers[-1].digest == again.digest)

    assert (archived.digest, archived.examples) == (last.digest, 40)
    assert again.examples == 50


def test_a_server_serves_no_copy_from_before_somebody_was_forgotten(
    archive: Archive, log: Log, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log.append([*examples(20), *by(17, 10, first=20)])
    learn_all(log, tmp_path, archive=archive)
    log.append([request()])
    forgot = learn_all(log, tmp_path)  # no copy was due since
    end = log.bounds(TOPICS.weights)
    for partition in (DELTAS, SNAPSHOTS):
        forget(tmp_path, TOPICS.weights, partition, end[partition].end)

    with caplog.at_level(logging.WARNING), server(log, archive) as served:
        wait_for(lambda: "names no version in the archive" in caplog.text)

    assert forgot.archived
    assert served.headers == []


def test_a_server_serves_nothing_that_was_put_into_the_bucket_by_somebody_else(
    s3: S3, archive: Archive, log: Log, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    learn_twice(log, tmp_path, archive)
    end = log.bounds(TOPICS.weights)
    for partition in (DELTAS, SNAPSHOTS):
        forget(tmp_path, TOPICS.weights, partition, end[partition].end)
    for archived in newest(log).archived:
        s3.request("PUT", place(archive, archived), forge(s3.request("GET", place(archive, archived))))

    with caplog.at_level(logging.WARNING), server(log, archive) as served:
        wait_for(lambda: "names no version in the archive that can be read" in caplog.text)

    assert served.headers == []


def test_a_version_whose_record_names_no_digest_is_no_version(log: Log, tmp_path: Path) -> None:
    """A name with a path in it can't be made: what a copy is called comes from a number and a digest alone."""
    log.append(examples(5))
    learn_all(log, tmp_path)
    published = records(log, TOPICS.versions)[-1]
    value = (published.value or b"").removesuffix(b"}") + b',"archived":[{"version":1,"size":1,"sha256":"../../etc/passwd"}]}'
    count = len(all_versions(log))
    tamper(tmp_path, TOPICS.versions, 0, published.offset, value)

    assert len(all_versions(log)) == count - 1


def test_with_neither_checkpoints_nor_archive_a_learner_goes_on_from_the_weights_that_servers_have(log: Log, tmp_path: Path) -> None:
    log.append([*examples(30), *by(17, 10, first=30), request()])
    before = learn_all(log, tmp_path)
    forget(tmp_path, TOPICS.examples, 0, 30)
    forget(tmp_path, TOPICS.versions, 0, 1)
    log.append(examples(10, first=50))

    with pytest.raises(GapError, match="--accept-gap goes on from the weights that servers have, without accumulators"):
        learn_all(log, tmp_path / "elsewhere")
    with server(log, None) as served:
        wait_for(lambda: served.caught_up)
        last = learn_all(log, tmp_path / "elsewhere", accept_gap=True)
        wait_for(lambda: served.headers[-1].digest == last.digest)

    first = next(each.version for each in read_versions(log, TOPICS, 1) if each.version.begun)
    assert first.digest == before.digest
    assert last.examples == before.examples + 10
    assert not holds(next(Checkpoints(tmp_path / "elsewhere/checkpoints", 3).newest_first()).restore().model.weights)
    assert learn_all(log, tmp_path / "elsewhere").digest == last.digest


def test_verify_also_verifies_the_archive(s3: S3, archive: Archive, log: Log, tmp_path: Path) -> None:
    log.append(examples(20))
    last = learn_all(log, tmp_path, archive=archive)
    settings = Settings.model_validate(
        {
            "log": {"url": f"sqlite:///{tmp_path}/log.db", "prefix": TOPICS.prefix},
            "learn": {"directory": str(tmp_path / "checkpoints")},
            "archive": {"url": archive._url},
        }
    )

    assert [each["problem"] for each in snapshots.verified(settings)] == [None, None]

    s3.request("PUT", place(archive, last.archived[0]), b"forged")
    assert "got 6 bytes" in snapshots.verified(settings)[-1]["problem"]


def test_no_credential_is_logged_though_everything_is(
    s3: S3, archive: Archive, log: Log, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    log.append(examples(20))
    with caplog.at_level(logging.DEBUG):
        learn_all(log, tmp_path, archive=archive)
        s3.faults.extend([("GET", "busy")] * 3)
        archive.read(TOPICS, newest(log).archived[-1])
        with pytest.raises(ArchiveError) as raised:
            put(Archive(archive._url.replace("bucket-", "nobodys-"), 0.0))

    said = capfd.readouterr()
    assert SECRET not in f"{caplog.text} {raised.value} {said.out} {said.err}"


def test_a_missing_archive_is_not_begun_without(archive: Archive, log: Log, tmp_path: Path) -> None:
    """While the bucket can't be read, nobody begins a new model in silence."""
    learn_twice(log, tmp_path, archive)
    away = Archive(archive._url.replace("bucket-", "nobodys-"), 0.0)

    with pytest.raises(GapError, match="put them back"):
        learn_all(log, tmp_path, archive=away)


def test_storage_that_does_not_answer_is_asked_once_and_for_no_other_copy(
    s3: S3, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = [put(archive), put(archive, b"newer")]
    monkeypatch.setattr(archive_module, "_PATIENCE", 0.0)
    s3.asked.clear()
    s3.faults.extend([("HEAD", "gone")] * 2)

    with pytest.raises(BrokenWeightsError, match=r"names no version in the archive that can be read: .*version-0"):
        archive.weights(TOPICS, copies)

    assert [path for method, path, _ in s3.asked if method == "HEAD"] == [place(archive, copies[1])]


def test_no_weights_can_be_had_from_an_empty_list(archive: Archive) -> None:
    with pytest.raises(BrokenWeightsError, match=r"learning.versions names no version in the archive"):
        archive.weights(TOPICS, [])
