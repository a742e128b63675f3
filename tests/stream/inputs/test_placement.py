"""No record is judged by a partition that it doesn't belong to: topics that don't fit end the join, a record that doesn't is set aside."""

import pytest
from hypothesis import given, strategies as st

from stream.inputs.placement import FIRST, MisroutedError, Placement
from stream.log.contract import Partitioner, Record
from stream.log.message import partition_of
from stream.log.topics import JoinerError, Topics
from stream.records.events import Click, Impression, Watermark, encode

TOPICS = Topics("t")
PARTITIONS = 4
ids = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=50)


def record(topic: str, name: str, partition: int, offset: int = 0, key: bytes | None = b"the id") -> Record:
    event = Click(name, 1) if topic == TOPICS.clicks else Impression(name, 1, {})
    return Record(topic, partition, offset, 0, name.encode() if key == b"the id" else key, encode(event))


def placed(topic: str, names: list[str], partitioner: Partitioner) -> list[Record]:
    return [record(topic, name, partition_of(name.encode(), PARTITIONS, partitioner), n) for n, name in enumerate(names)]


def round_robin(topic: str, names: list[str], key: bytes | None = b"the id") -> list[Record]:
    return [record(topic, name, n % PARTITIONS, n, key) for n, name in enumerate(names)]


def some(count: int) -> list[str]:
    return [f"i-{number}" for number in range(count)]


def misrouted(placement: Placement, records: list[Record]) -> int:
    count = 0
    for each in records:
        event = Click(each.key.decode(), 1) if each.key else Watermark(1)
        try:
            placement.check(each, event)
        except MisroutedError:
            count += 1
    return count


@pytest.mark.parametrize("written", ["murmur2", "crc32"])
@pytest.mark.parametrize("otherwise", ["murmur2", "crc32"])
@given(shown=ids, clicked=ids)
def test_two_topics_of_one_partitioner_fit_whatever_the_settings(
    written: Partitioner, otherwise: Partitioner, shown: list[str], clicked: list[str]
) -> None:
    placement = Placement(TOPICS, PARTITIONS, otherwise)
    records = placed(TOPICS.impressions, shown, written) + placed(TOPICS.clicks, clicked, written)

    placement.tally(records)

    assert misrouted(placement, records) == 0


def test_two_partitioners_end_the_join_and_the_message_says_which_topic_and_why() -> None:
    placement = Placement(TOPICS, PARTITIONS, "murmur2")
    placement.tally(placed(TOPICS.impressions, some(400), "murmur2"))

    with pytest.raises(JoinerError, match=r"t\.clicks: of the first 100 records \d+ .* crc32 places them so, as librdkafka.*rekey = true"):
        placement.tally(placed(TOPICS.clicks, some(200), "crc32"))


def test_null_keys_end_the_join() -> None:
    placement = Placement(TOPICS, PARTITIONS, "murmur2")
    placement.tally(placed(TOPICS.impressions, some(50), "murmur2"))

    with pytest.raises(JoinerError, match=r"t\.clicks: .*: 40 of 40 keys are null"):
        placement.tally(round_robin(TOPICS.clicks, some(40), None))


def test_keys_by_user_end_the_join() -> None:
    placement = Placement(TOPICS, PARTITIONS, "murmur2")

    with pytest.raises(JoinerError, match=r"keys are not impression ids, e\.g\. key 'u17' of impression 'i-0'"):
        placement.tally([record(TOPICS.impressions, name, 1, n, b"u17") for n, name in enumerate(some(40))])


def test_a_partitioner_that_is_neither_ends_the_join() -> None:
    placement = Placement(TOPICS, PARTITIONS, "murmur2")

    with pytest.raises(JoinerError, match=r"neither .* nor .* places them so"):
        placement.tally(round_robin(TOPICS.impressions, some(40)))


def test_one_record_in_a_wrong_partition_is_misrouted_and_harms_no_other() -> None:
    placement = Placement(TOPICS, PARTITIONS, "crc32")
    honest = placed(TOPICS.impressions, some(50), "murmur2")
    wrong = [record(TOPICS.clicks, "i-3", (honest[3].partition + 1) % PARTITIONS)]

    placement.tally(honest + wrong)

    assert misrouted(placement, honest) == 0
    assert misrouted(placement, wrong) == 1


def test_few_accidents_among_many_do_not_end_the_join_but_five_alone_do() -> None:
    many, alone = Placement(TOPICS, PARTITIONS, "murmur2"), Placement(TOPICS, PARTITIONS, "murmur2")
    good = placed(TOPICS.impressions, some(75), "murmur2")
    bad = [record(TOPICS.clicks, each.key.decode(), (each.partition + 1) % PARTITIONS, 100 + each.offset) for each in good if each.key]

    many.tally(good + placed(TOPICS.clicks, some(75), "murmur2") + bad[:25])
    alone.tally(good + bad[:4])
    with pytest.raises(JoinerError, match="of the first 5 records 5 do not lie"):
        alone.tally(bad[4:5])


def test_only_the_first_hundred_records_of_a_topic_tell() -> None:
    placement = Placement(TOPICS, PARTITIONS, "murmur2")
    for topic in (TOPICS.impressions, TOPICS.clicks):
        placement.tally(placed(topic, some(FIRST), "murmur2"))

    placement.tally(placed(TOPICS.clicks, some(FIRST), "crc32"))

    assert placement.partitioner == "murmur2"


def test_what_is_looked_at_before_the_start_is_not_counted_again() -> None:
    placement = Placement(TOPICS, PARTITIONS, "murmur2")
    wrong = [each._replace(partition=(each.partition + 1) % PARTITIONS) for each in placed(TOPICS.clicks, some(3), "murmur2")]

    placement.tally(wrong)
    placement.tally(wrong)


def test_watermarks_and_what_cannot_be_read_are_exempt() -> None:
    placement = Placement(TOPICS, PARTITIONS, "murmur2")
    values = [encode(Watermark(1)), b"{"] * 20

    placement.tally([Record(TOPICS.clicks, 3, n, 0, None, value) for n, value in enumerate(values)])

    placement.check(Record(TOPICS.clicks, 3, 0, 0, None, values[0]), Watermark(1))


def test_a_tombstone_goes_by_its_key() -> None:
    placement = Placement(TOPICS, PARTITIONS, "murmur2")
    (there,) = placed(TOPICS.impressions, ["i-1"], "murmur2")

    placement.check(there._replace(value=None), "i-1")
    with pytest.raises(MisroutedError):
        placement.check(there._replace(value=None, partition=(there.partition + 1) % PARTITIONS), "i-1")


def test_in_one_partition_everything_belongs() -> None:
    placement = Placement(TOPICS, 1, "murmur2")
    records = [record(TOPICS.clicks, name, 0, n, None) for n, name in enumerate(some(40))]

    placement.tally(records)

    assert misrouted(placement, records) == 0
