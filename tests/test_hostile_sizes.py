"""A few bytes that claim to be very many are refused with a clear error, and are given no memory."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from xxhash import xxh3_128

from model.array_file import FORMAT, ArrayFileError, dump, load
from model.online import OnlineModel
from model.settings import TableSettings
from stream.learn.saving.checkpoint import Checkpoint, DamagedCheckpointError
from stream.log.contract import Message, Record
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import create
from stream.records.events import BadRecordError, decode_click, decode_example, decode_impression, encode
from stream.records.version import LearnerState, SnapshotRef, Version, decode_version
from stream.weights.chunks import Assembler, BrokenWeightsError, WeightsHeader, cut, pack
from stream.weights.double_buffer import DoubleBuffer
from stream.weights.follow import Follower
from stream.weights.metrics import FollowerMetrics
from tests.stream.learning import SPEC, TOPICS, examples, learn_all, opened

DECODERS = (decode_impression, decode_click, decode_example, decode_version)
ROOM = 400_000_000  # bytes of memory beyond what a process has taken
HEADER = WeightsHeader(version=3, base=None, digest="d", examples=1, trained_through=None, published_at=1)


def file_of(entries: dict[str, Any], body: bytes = b"", metadata: Any = None) -> bytes:
    """Return an array file whose header says anything, with a right checksum of nothing."""
    text = json.dumps({})
    own = {"format": FORMAT, "header": text, "checksum": xxh3_128(text.encode()).hexdigest()}
    header = json.dumps({"__metadata__": own if metadata is None else metadata, **entries}).encode()
    return len(header).to_bytes(8, "little") + header + body


FORGED = {
    "2^40 elements": file_of({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}, bytes(64)),
    "more elements than a number holds": file_of({"a": {"dtype": "F32", "shape": [2**70], "data_offsets": [0, 2**72]}}, bytes(64)),
    "a negative shape": file_of({"a": {"dtype": "F32", "shape": [-(2**70)], "data_offsets": [0, 64]}}, bytes(64)),
    "a header of 2^63 bytes": (2**63).to_bytes(8, "little") + b"{}",
    "a number of a million digits": (1_000_000).to_bytes(8, "little") + b"9" * 1_000_000,
    "a million brackets": (1_000_000).to_bytes(8, "little") + b"[" * 1_000_000,
    "ten thousand arrays of the same bytes": file_of(
        {f"a{n}": {"dtype": "F32", "shape": [250_000], "data_offsets": [0, 1_000_000]} for n in range(10_000)}, bytes(1_000_000)
    ),
}


def in_little_memory(statement: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a statement in a process that can't take much more memory than it has."""
    program = f"""
import resource, sys
from pathlib import Path
import tests.test_hostile_sizes as hostile
taken = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (taken + {ROOM},) * 2)
hostile.{statement}
print("refused")
"""
    return subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, timeout=120, check=False)


def refuse_forged_files() -> None:
    for name, data in FORGED.items():
        with pytest.raises(ArrayFileError):
            load(data)
        assert name


def refuse_large_specs() -> None:
    arrays = OnlineModel(SPEC).weights.arrays()
    for spec in (
        SPEC.model_copy(update={"table": TableSettings(capacity=2**40)}),
        SPEC.model_copy(update={"model": SPEC.model.model_copy(update={"hidden": (8192,) * 50})}),
    ):
        with pytest.raises(BrokenWeightsError, match="the snapshot of version 3 holds no weights"):
            DoubleBuffer.of_snapshot(pack(HEADER, arrays, spec=spec.model_dump(mode="json")))


def refuse_events() -> None:
    for decode in DECODERS:
        for value in (b"9" * 10_000_000, b'{"time": ' + b"9" * 10_000_000 + b"}", b'{"time": 1e' + b"9" * 200_000 + b"}", b"[" * 200_000):
            with pytest.raises(BadRecordError):
                decode(value)


@pytest.mark.parametrize("statement", ["refuse_forged_files()", "refuse_large_specs()", "refuse_events()"])
def test_what_claims_to_be_large_is_refused_in_little_memory(statement: str) -> None:
    done = in_little_memory(statement)

    assert done.stdout == "refused\n", done.stderr[-2000:]


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_file_is_refused_at_once(name: str) -> None:
    with pytest.raises(ArrayFileError, match="array file"):
        load(FORGED[name])


def test_a_file_as_it_was_written_is_read() -> None:
    arrays, header = load(dump({"a": np.arange(4, dtype=np.float32)}, {"v": 1}))

    assert arrays["a"].tolist() == [0, 1, 2, 3]
    assert header == {"v": 1}


@pytest.mark.parametrize("change", [{"table": {"capacity": 2**40}}, {"model": {"hidden": [8192] * 50}}])
def test_a_checkpoint_that_claims_a_large_model_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    with opened(tmp_path) as log:
        log.append(examples(5))
        learn_all(log, tmp_path)
    (path,) = (tmp_path / "checkpoints").glob("*.checkpoint")
    arrays, header = load(path.read_bytes())
    forged = Checkpoint.from_bytes(dump(arrays, header | {"spec": header["spec"] | change}))

    with pytest.raises(DamagedCheckpointError, match="holds no model"):
        forged.restore()


@pytest.mark.parametrize("part", [b"0/1000000000", b"0/-1", b"-1/1", b"5/5", b"0/" + b"9" * 5_000, b"1e3/4"])
def test_a_chunk_that_claims_a_thousand_million_parts_is_refused(part: bytes) -> None:
    with pytest.raises(BrokenWeightsError, match=r"part|no part"):
        Assembler().add([Record("w", 0, 7, 0, b"k", b"value", (("part", part),))])


@pytest.mark.parametrize("capacity", [8, 65_536])
def test_a_delta_that_claims_to_be_larger_than_all_weights_is_refused_and_the_largest_honest_one_is_not(capacity: int) -> None:
    spec = SPEC.model_copy(update={"table": TableSettings(capacity=capacity)})
    weights = OnlineModel(spec).weights
    weights.keys[:] = np.arange(1, capacity + 1)
    whole = pack(msgspec.structs.replace(HEADER, base=2), weights.arrays())
    most = DoubleBuffer(msgspec.structs.replace(HEADER, digest=weights.digest()), weights).most_chunks()
    chunks = [Record("w", 0, n, 0, each.key, each.value, each.headers) for n, each in enumerate(cut("w", 0, whole))]
    claims = [chunks[0]._replace(headers=(("part", b"%d/%d" % (n, most + 1)),)) for n in range(most + 1)]

    assert Assembler(most).add(chunks) == [whole]
    assert most <= len(chunks) + 2
    with pytest.raises(BrokenWeightsError, match=f"part 1 of {most + 1} at offset 0, expected at most {most} parts"):
        Assembler(most).add(claims)


class Unserved:
    """A service that is given no weights."""

    caught_up = False
    held: Version | None = None
    learner: LearnerState | None = None

    def hand_over(self, header: object, weights: object) -> None:
        raise AssertionError((header, weights))


@pytest.mark.parametrize(
    "change",
    [
        {"first": 0, "last": 2**53},
        {"first": 2**53, "last": 3},
        {"deltas": 2**53},
        {"first": 0, "last": 0},
    ],
)
def test_a_version_that_names_absurd_offsets_holds_a_server_up_and_ends_nothing(
    tmp_path: Path, change: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    with SqliteLog(f"sqlite:///{tmp_path}/log.db") as log:
        create(log, TOPICS, 1)
        log.append([Message(TOPICS.weights, b"k", bytes(900_000), (("part", b"0/1"),), 1) for _ in range(30)])
        ref = msgspec.structs.replace(SnapshotRef(3, 0, 29, 0), **change)
        version = Version(3, "d", 1, None, {0: 1}, [], [], "s", "f", 1, snapshot=ref)
        log.append([Message(TOPICS.versions, None, encode(version), partition=0)])
        asked = iter(range(40))

        Follower(log, TOPICS, Unserved(), FollowerMetrics(CollectorRegistry())).run(lambda: next(asked, None) is None)

    assert "starting again from a snapshot" in caplog.text


def test_offsets_beyond_what_any_log_counts_are_no_version() -> None:
    version = encode(Version(3, "d", 1, None, {0: 1}, [], [], "s", "f", 1, snapshot=SnapshotRef(3, 0, 1, 0)))

    with pytest.raises(BadRecordError, match="snapshot"):
        decode_version(version.replace(b'"last":1', b'"last":%d' % 2**60))
