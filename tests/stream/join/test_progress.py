"""What is committed beside an offset is believed only where it can be right: damage neither loses an event nor lets one be joined twice."""

from collections.abc import Mapping
from contextlib import suppress

import pytest
from hypothesis import given, strategies as st
from prometheus_client import CollectorRegistry

from stream.join.joiner import Joiner
from stream.join.matching.input_state import ResumePoint
from stream.join.merged import CopyPoint
from stream.join.metrics import JoinerMetrics
from stream.join.progress import progress, read_progress
from stream.log.contract import Bounds, Log, Progress
from stream.log.topics import JoinerError
from stream.settings import JoinSettings
from tests.stream.join.test_joiner import SETTINGS, TOPICS, clicked, end, examples, new_log, read, shown
from tests.stream.join.test_rekey import COPIES, REKEY, rekeyed_log

BOUNDS = Bounds(0, 1_000)
POINT = ResumePoint(123, 456_789, (234_567, 8), 300, appended=99, partitioner="murmur2")
WRITTEN = progress(345, POINT)
IMPRESSIONS = (TOPICS.impressions, 0)


class Remembering:
    """A log that remembers other progress than was committed; None: none at all."""

    def __init__(self, log: Log, other: Mapping[tuple[str, int], Progress | None]) -> None:
        self.log, self.other = log, other
        self.bounds, self.reader, self.writer, self.partitioner = log.bounds, log.reader, log.writer, log.partitioner

    def progress(self, owner: str, topic: str) -> dict[int, Progress]:
        known: dict[int, Progress | None] = {**self.log.progress(owner, topic)}
        known |= {partition: entry for (of, partition), entry in self.other.items() if of == topic}
        return {partition: entry for partition, entry in known.items() if entry is not None}


def join(log: object, settings: JoinSettings = SETTINGS) -> None:
    Joiner(log, TOPICS, settings, JoinerMetrics(CollectorRegistry())).run(lambda: False, until_caught_up=True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("offset", "point", "complaint"),
    [
        (2, ResumePoint(3), "expected 0 <= rewind <= taken <= the offset"),
        (2, ResumePoint(-5), "expected 0 <= rewind <= taken <= the offset"),
        (2, ResumePoint(0, taken=3), "expected 0 <= rewind <= taken <= the offset"),
        (2, ResumePoint(1, taken=0), "expected 0 <= rewind <= taken <= the offset"),
        (9, ResumePoint(0), "read up to offset 9, but the log ends at 2"),
        (-1, ResumePoint(0), "expected an offset from 0 on"),
        (2, ResumePoint(0, format=2), "got progress of format 2, expected 1"),
        (2, ResumePoint(0, seen=-2), "expected times and a cursor of at least -1"),
        (2, ResumePoint(0, cursor=(-2, 0)), "expected times and a cursor of at least -1"),
        (2, ResumePoint(0, appended=-1), "appended of at least 0"),
        (2, ResumePoint(0, seen=2**53), "has come as far as 9007199254740992, expected at most the present"),
        (2, ResumePoint(0, cursor=(2**53, 0)), "has come as far as 9007199254740992, expected at most the present"),
        (2, ResumePoint(0, policy="fnw"), "expected progress under label_policy 'window', got 'fnw'"),
    ],
)
def test_a_resume_point_that_can_not_be_right_ends_the_joiner_and_is_named(offset: int, point: ResumePoint, complaint: str) -> None:
    with new_log() as log:
        log.append([shown("a", 1), shown("b", 2)])
        join(log)

        with pytest.raises(JoinerError, match=complaint):
            join(Remembering(log, {IMPRESSIONS: progress(offset, point)}))

        assert not examples(log)[0]
        log.append(end(log))
        join(log)
        assert [each.impression_id for each in examples(log)[0]] == ["a", "b"]


@pytest.mark.parametrize("text", ["", "{", "null", "[" * 4_000, '{"rewind":0,"x":' + "[" * 4_000, '{"rewind":1e99}', '{"seen":3}', "\0"])
def test_what_is_no_resume_point_is_named_with_how_to_go_on(text: str) -> None:
    with pytest.raises(JoinerError, match=r"t partition 0: expected the joiner's resume point .*--from-now"):
        read_progress("t partition 0", Progress(3, text), BOUNDS, ResumePoint)


@given(st.integers(0, 8 * len(WRITTEN.metadata) - 1), st.integers(-200, 200))
def test_damage_to_a_bit_or_to_the_offset_is_found(bit: int, further: int) -> None:
    damaged = bytearray(WRITTEN.metadata.encode())
    damaged[bit // 8] ^= 1 << bit % 8
    known = WRITTEN._replace(metadata=damaged.decode("latin-1"))

    with suppress(JoinerError):
        assert read_progress("t", known, BOUNDS, ResumePoint) == POINT  # the name of the digest was hit, not what it is of
    if further:
        with pytest.raises(JoinerError, match="expected a digest that fits"):
            read_progress("t", WRITTEN._replace(offset=345 + further), BOUNDS, ResumePoint)


def test_progress_is_read_as_it_was_written_and_that_of_an_earlier_version_without_a_digest() -> None:
    earlier = Progress(345, '{"rewind":123,"seen":456789,"cursor":[234567,8],"taken":300,"appended":99,"partitioner":"murmur2"}')

    assert read_progress("t", WRITTEN, BOUNDS, ResumePoint) == POINT
    assert read_progress("t", earlier, BOUNDS, ResumePoint) == POINT
    assert len(WRITTEN.metadata) < 4_096  # more is fatal to a producer of Kafka


@pytest.mark.parametrize("missing", [[(TOPICS.clicks, 0)], [IMPRESSIONS], [IMPRESSIONS, (TOPICS.clicks, 0)]])
def test_a_partition_whose_progress_is_gone_is_not_joined_again_from_its_start(missing: list[tuple[str, int]]) -> None:
    with new_log(2) as log:
        log.append([each for n in range(20) for each in (shown(f"{n}", 1), clicked(f"{n}", 2))] + end(log))
        join(log)
        before = examples(log)

        with pytest.raises(JoinerError, match=r"holds examples, but there is no progress of 't.joiner' in partitions \[0\]"):
            join(Remembering(log, dict.fromkeys(missing)))

        assert examples(log) == before


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (None, r"no progress of partitions \[0\], but of later ones"),
        (Progress(0, '{"seen":"x"}'), "expected the joiner's resume point"),
        (progress(0, CopyPoint(2**53)), "has come as far as"),
        (progress(99, CopyPoint(1)), "read up to offset 99, but the log ends at"),
    ],
)
def test_progress_of_the_copies_that_can_not_be_right_copies_nothing_twice(entry: Progress | None, complaint: str) -> None:
    with rekeyed_log() as log:
        log.append([shown(f"{n}", n)._replace(key=None, partition=n % 3) for n in range(9)])
        join(log, REKEY)
        before = read(log, COPIES.impressions)

        with pytest.raises(JoinerError, match=complaint):
            join(Remembering(log, {IMPRESSIONS: entry}), REKEY)

        assert read(log, COPIES.impressions) == before
