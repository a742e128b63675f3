"""Several joiners of one model write what one would, whoever takes which partitions from whom, and no partition ever has two."""

import threading
import uuid
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from itertools import count

import pytest
from hypothesis import given, settings, strategies as st
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from service.cli import app
from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.join.recovery import progress_of
from stream.join.share import Share, joiner_of, take_share
from stream.log.connect import connect
from stream.log.contract import FencedError, Log, Message, Progress, Writer
from stream.log.reading import read_all
from stream.log.topics import JoinerError, Topics, create
from stream.records.heartbeat import is_heartbeat
from tests.stream.join.test_joiner import SETTINGS, TOPICS, KilledError, Mortal, end, new_log, traffic

PARTITIONS = 4
LOW, HIGH, MIDDLE, WHOLE = Share(0, 1), Share(2, 3), Share(1, 2), Share(0, 3)


def joiner(log: object, share: Share | None, topics: Topics = TOPICS, registry: CollectorRegistry | None = None) -> Joiner:
    return Joiner(log, topics, SETTINGS, JoinerMetrics(registry or CollectorRegistry()), share=share)  # type: ignore[arg-type]


def catch_up(log: object, share: Share | None) -> None:
    joiner(log, share).run(lambda: False, until_caught_up=True)


def joined(log: Log, topics: Topics = TOPICS) -> dict[int, list[bytes | None]]:
    found: dict[int, list[bytes | None]] = {p: [] for p in range(PARTITIONS)}
    for record in read_all(log, topics.examples):
        if not is_heartbeat(record):
            found[record.partition].append(record.value)
    return found


def joined_by_one(messages: list[Message]) -> dict[int, list[bytes | None]]:
    with new_log(PARTITIONS) as log:
        log.append(messages)
        catch_up(log, None)
        return joined(log)


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 1_000),
    st.lists(st.tuples(st.sampled_from([None, LOW, HIGH, MIDDLE, WHOLE]), st.integers(0, 6), st.booleans()), max_size=5),
)
def test_whoever_takes_partitions_from_whom_and_is_killed_all_is_written_as_one_joiner_does(
    seed: int, turns: list[tuple[Share | None, int, bool]]
) -> None:
    with new_log(PARTITIONS) as log:
        messages = [*traffic(seed), *end(log)]
        log.append(messages)
        for share, dies_at, after in turns:
            with suppress(KilledError):
                catch_up(Mortal(log, records=7, dies_at=dies_at, after=after), share)
        for share in (LOW, HIGH):
            catch_up(log, share)

        assert joined(log) == joined_by_one(messages)


@pytest.mark.parametrize(
    ("share", "newer", "fenced"),
    [
        (LOW, LOW, True),
        (LOW, MIDDLE, True),
        (LOW, None, True),
        (None, LOW, True),
        (None, WHOLE, True),
        (LOW, HIGH, False),
    ],
    ids=str,
)
def test_a_newer_joiner_fences_those_that_share_a_partition_with_it_and_no_other(
    share: Share | None, newer: Share | None, fenced: bool
) -> None:
    calls = count()

    def should_stop() -> bool:
        call = next(calls)
        if call == 2:
            catch_up(log, newer)
        return call == 20

    with new_log(PARTITIONS) as log:
        messages = traffic(7)
        log.append(messages)
        with pytest.raises(FencedError) if fenced else nullcontext():
            joiner(log, share).run(should_stop)
        log.append(end(log))
        catch_up(log, None)

        records = {p: len(found) for p, found in joined(log).items()}
        assert records == {p: len(found) for p, found in joined_by_one([*messages, *end(log)]).items()}


def test_two_joiners_on_kafka_write_what_one_does_and_one_that_is_killed_stops_no_other(kafka: str) -> None:
    topics, messages = Topics(f"share-{uuid.uuid4().hex[:8]}"), traffic(3)
    with new_log(PARTITIONS) as small:
        messages += end(small)
    with connect(kafka) as log:
        create(log, topics, PARTITIONS)
        log.append([message._replace(topic=message.topic.replace("t.", f"{topics.prefix}.", 1)) for message in messages])
        mortal = Mortal(log, records=5, dies_at=2, after=True)
        died: list[Exception] = []

        def low() -> None:
            try:
                joiner(mortal, LOW, topics).run(lambda: False)
            except KilledError as error:
                died.append(error)

        thread = threading.Thread(target=low)
        thread.start()
        joiner(log, HIGH, topics).run(lambda: False, until_caught_up=True)
        thread.join()
        expected = joined_by_one(messages)
        half = joined(log, topics)
        joiner(log, LOW, topics).run(lambda: False, until_caught_up=True)

        assert died
        assert {p: half[p] for p in HIGH.partitions} == {p: expected[p] for p in HIGH.partitions}
        assert {p: half[p] for p in LOW.partitions} != {p: expected[p] for p in LOW.partitions}
        assert joined(log, topics) == expected


def test_leaving_behind_what_the_log_holds_fences_whoever_shares_a_partition_and_counts_its_own() -> None:
    calls = count()
    with new_log(PARTITIONS) as log:
        log.append(traffic(7))
        ends = {p: sum(log.bounds(topic)[p].end for topic in (TOPICS.impressions, TOPICS.clicks)) for p in range(PARTITIONS)}

        assert joiner(log, HIGH).leave_behind() == ends[2] + ends[3]
        with pytest.raises(FencedError):
            joiner(log, HIGH).run(lambda: joiner(log, None).leave_behind() < 0 if next(calls) else False)
        assert joined(log) == {p: [] for p in range(PARTITIONS)}


class Meeting:
    """A log on which another joiner takes its share while the first is just taking one."""

    def __init__(self, log: Log, other: Share) -> None:
        self.log, self.other = log, other
        self.bounds = log.bounds
        self.claims = 0  # of the first joiner
        self.others: list[Writer] = []

    def writer(self, owner: str, group: str | None = None) -> Writer:
        self.claims += owner == joiner_of(TOPICS)
        return self.log.writer(owner, group)

    def progress(self, owner: str, topic: str) -> Mapping[int, Progress]:
        if not self.others:
            self.others.append(take(self.log, self.other))
        return self.log.progress(owner, topic)


def take(log: object, share: Share) -> Writer:
    return take_share(log, TOPICS, share, lambda: progress_of(log, TOPICS, SETTINGS, share))  # type: ignore[arg-type]


@pytest.mark.parametrize(("other", "fenced"), [(HIGH, False), (MIDDLE, True)])
def test_two_that_take_shares_at_the_same_time_do_it_one_after_the_other(other: Share, fenced: bool) -> None:
    with new_log(PARTITIONS) as log:
        meeting = Meeting(log, other)
        writer = take(meeting, LOW)

        assert meeting.claims == 2  # the first was refused: the other had come between
        writer.commit([], {})
        with pytest.raises(FencedError) if fenced else nullcontext():
            meeting.others[0].commit([], {})


def test_a_joiner_measures_the_lag_of_its_own_partitions_and_sends_heartbeats_to_them_alone() -> None:
    registry, calls = CollectorRegistry(), count()
    with new_log(PARTITIONS) as log:
        log.append([*traffic(1), *end(log)])
        ends = {p: found.end for p, found in log.bounds(TOPICS.impressions).items()}
        joiner(log, HIGH, registry=registry).run(lambda: next(calls) == 60)
        heartbeats = {record.partition for record in read_all(log, TOPICS.impressions) if is_heartbeat(record)}

        assert registry.get_sample_value("sml_joiner_lag_records", {"topic": TOPICS.impressions}) == 0
        assert registry.get_sample_value("sml_joiner_records_total", {"topic": TOPICS.impressions}) == sum(ends[p] for p in HIGH.partitions)
        assert heartbeats <= set(HIGH.partitions)


@pytest.mark.parametrize("text", ["", "7-0", "a", "-1", "0-", "0-1-2", "0,1", "0-99999999999", "٣"])
def test_what_names_no_partitions_is_refused_with_what_was_expected(text: str) -> None:
    done = CliRunner().invoke(app, ["join", f"--partitions={text}"])

    assert done.exit_code == 2
    assert "such as 0-7" in " ".join(done.stderr.replace("│", " ").split())


def test_partitions_that_the_topics_do_not_have_and_copies_by_id_are_refused() -> None:
    with new_log(2) as log:
        with pytest.raises(JoinerError, match=r"got partitions 1-2, expected some of 't\.impressions', which has 0 to 1"):
            catch_up(log, MIDDLE)
        with pytest.raises(JoinerError, match="rekey"):
            Joiner(log, TOPICS, SETTINGS.model_copy(update={"rekey": True}), JoinerMetrics(CollectorRegistry()), share=LOW)
