"""What a row tells an example is what a server could have known when the example was shown, whatever the order, and however it is read."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from model.kernels.rows.record import BUCKET, COLUMNS, MEMORY, NEWEST, Records, decided, newest_bucket, observe, odds, prior
from model.online import OnlineModel
from model.settings import Spec
from tests.model.examples import examples, pack, spec
from tests.model.record import LongRecord, log_odds_above, rate_of

SEEN = st.tuples(st.integers(0, 12), st.floats(0, 3), st.booleans(), st.integers(0, 14))  # bucket, weight, clicked; bucket of a reader


def empty(rows: int = 2) -> Records:
    """Return records of buckets of ten milliseconds; the last is the stream's."""
    return Records(np.zeros((rows, COLUMNS)), 10)


@given(st.lists(SEEN, max_size=30))
@settings(deadline=None)
def test_a_record_tells_what_is_decided_whatever_the_order_of_times_and_is_not_changed_by_being_read(
    stream: list[tuple[int, float, bool, int]],
) -> None:
    records, longhand = empty(), LongRecord()
    for bucket, weight, clicked, reader in stream:
        observe(records, 0, bucket, weight, weight * clicked)
        longhand.add(bucket, weight, weight * clicked)
        before = records.counts.copy()

        got = decided(records, 0, reader)

        assert got == pytest.approx(longhand.decided(reader))
        assert (records.counts == before).all()
        assert not records.counts[1].any()


@given(st.lists(SEEN, max_size=30))
@settings(deadline=None)
def test_the_input_is_the_log_odds_above_those_of_the_stream(stream: list[tuple[int, float, bool, int]]) -> None:
    records, row, whole = empty(), LongRecord(), LongRecord()
    for n, (bucket, weight, clicked, reader) in enumerate(stream):
        for position, longhand in [(0, row), (1, whole)][n % 2 :]:
            observe(records, position, bucket, weight, weight * clicked)
            longhand.add(bucket, weight, weight * clicked)

        told = np.log(odds(records, 0, reader, *prior(records, reader)))

        assert told == pytest.approx(log_odds_above(row.decided(reader), rate_of(whole.decided(reader))), abs=1e-9)


@pytest.mark.parametrize("bucket", [0, 1, 2**24 - 1, 2**24, 1_790_000_000_000, 2**48 - 1, -7])
def test_a_bucket_of_any_time_is_held_exactly_in_single_precision(bucket: int) -> None:
    records = Records(np.zeros((1, COLUMNS), np.float32), 1)
    records.counts[0, BUCKET] = -1  # long before

    observe(records, 0, bucket, np.float32(1), np.float32(0))

    assert newest_bucket(records.counts[0]) == bucket


def test_a_value_never_seen_tells_nothing_at_all() -> None:
    records = empty()
    for bucket in range(20):
        observe(records, 1, bucket, 1.0, bucket % 3 == 0)
        assert odds(records, 0, bucket, *prior(records, bucket)) == 1


gaps = st.lists(st.tuples(st.integers(0, 15), st.floats(0, 400), st.booleans()), min_size=1, max_size=40)


@given(stream=gaps, asked=st.integers(0, 60))
@settings(deadline=None)
def test_a_server_reads_what_the_learner_will_read_bit_for_bit(stream: list[tuple[int, float, bool]], asked: int) -> None:
    """The server knows only what was decided when it was asked; the learner has seen all that came before, counts that fade included."""
    times = np.cumsum([gap for gap, _, _ in stream])
    served, learner = empty(), empty()
    for time, (_, weight, clicked) in zip(times.tolist(), stream, strict=True):
        if time < asked:
            observe(learner, 0, time // 10, weight, weight * clicked)
        if time + 10 <= asked:
            observe(served, 0, time // 10, weight, weight * clicked)

    assert decided(served, 0, asked // 10) == decided(learner, 0, asked // 10)


def test_a_record_follows_its_last_five_hundred_examples_and_a_crowd_is_counted_to_its_end() -> None:
    records = Records(np.zeros((1, COLUMNS), np.float32), 10)
    for bucket in range(5_000):
        observe(records, 0, bucket, np.float32(1), np.float32(bucket % 2))
    for bucket in range(5_000, 5_500):
        observe(records, 0, bucket, np.float32(1), np.float32(0))
    n, c = decided(records, 0, 6_000)
    assert n == MEMORY
    assert c / n == pytest.approx(0.5 * np.exp(-1), rel=0.01)

    for _ in range(5):  # more than single precision can count one by one
        observe(records, 0, 6_000, np.float32(2**23), np.float32(2**22))
    for k in range(1_000):
        observe(records, 0, 6_000, np.float32(1), np.float32(k % 2))
    assert records.counts[0, NEWEST] == pytest.approx(2**20)
    assert records.counts[0, NEWEST + 1] / records.counts[0, NEWEST] == pytest.approx(0.5, abs=1e-4)


# In the model


def of_value(model: OnlineModel, key: int) -> list[float]:
    """Return the counts of a value's record."""
    (position,) = np.flatnonzero(model.weights.keys == key)
    counts: list[float] = model.weights.records.counts[position, :BUCKET].tolist()
    return counts


def learn(model: OnlineModel, keys: list[int], labels: list[int], times: list[int], fnw: list[bool] | None = None) -> None:
    """Learn examples of one value each."""
    features = pack([[[key]] for key in keys])._replace(times=np.array(times))
    model.learn(features, np.array(labels, np.float32), None, None if fnw is None else np.array(fnw))


RECORDED: Spec = spec(fields=1, capacity=8, records=True, hidden=(4,), embedding=2)  # buckets of 3 ms


def test_an_example_is_counted_in_its_bucket_and_only_where_the_model_has_records() -> None:
    model, without = OnlineModel(RECORDED), OnlineModel(spec(fields=1, capacity=8, hidden=(4,), embedding=2))

    for each in (model, without):
        learn(each, [7, 7, 9, 7, 7], [1, 0, 1, 1, 0], [0, 1, 1, 3, 11])

    assert of_value(model, 7) == [3, 2, 0, 0, 1, 0]
    assert of_value(model, 9) == [0, 0, 0, 0, 1, 1]
    assert model.weights.records.counts[-1].tolist() == [4, 3, 0, 0, 1, 0, 0, 3]
    assert without.weights.records.counts.size == 0
    assert without.weights.arrays().keys() == {"dense", "positions", "keys", "rows"}


def test_a_value_that_a_list_names_twice_is_counted_once() -> None:
    model = OnlineModel(RECORDED)

    model.learn(pack([[[7, 7, 9]]]), np.ones(1))

    assert of_value(model, 7) == of_value(model, 9) == [0, 0, 0, 0, 1, 1]


def test_where_a_click_comes_after_its_negative_the_impression_is_counted_once_and_its_negative_is_not_read() -> None:
    model = OnlineModel(RECORDED)

    learn(model, [7, 9, 7], [0, 0, 1], [3, 5, 3], [True] * 3)

    assert of_value(model, 7) == [0, 0, 0, 0, 1, 1]
    assert model.weights.records.counts[-1].tolist() == [0, 0, 0, 0, 2, 1, 0, 1]
    learn(model, [7], [1], [3], [True])
    (position,) = np.flatnonzero(model.weights.keys == 7)
    assert decided(model.weights.records, int(position), 1) == (0, 0)


def test_one_example_counts_at_most_as_much_as_a_whole_record() -> None:
    model = OnlineModel(RECORDED)

    model.learn(pack([[[7]]]), np.zeros(1), np.array([1e38]))
    model.learn(pack([[[7]]]), np.zeros(1), np.array([5.0]))

    assert np.isfinite(model.weights.records.counts).all()
    assert of_value(model, 7)[NEWEST] <= MEMORY + 5


def test_the_record_of_a_value_that_is_forgotten_or_gives_way_is_gone() -> None:
    model = OnlineModel(RECORDED)
    learn(model, [*range(1, 9), 1], [1] * 9, [*range(8), 20])
    assert of_value(model, 1)[0] > 0

    model.forget(1)
    learn(model, [1], [0], [21])
    assert of_value(model, 1) == [0, 0, 0, 0, 1, 0]

    learn(model, [99], [0], [22])  # the set is full: 2 was used least recently
    assert 2 not in model.weights.keys
    assert of_value(model, 99) == [0, 0, 0, 0, 1, 0]


def test_the_digest_covers_the_records() -> None:
    model = OnlineModel(RECORDED)
    learn(model, [7], [1], [0])
    before = model.digest()
    (position,) = np.flatnonzero(model.weights.keys == 7)

    counts = model.weights.records.counts
    for one in (counts[position, :BUCKET], counts[position, BUCKET:], counts[-1]):
        one[...] += 1
        model.table.touched[position] = True
        assert model.digest() != before
        one[...] -= 1
    model.table.touched[position] = True
    assert model.digest() == before


def test_a_prediction_depends_on_the_time_that_is_asked_for_and_not_on_what_was_asked_before() -> None:
    stream = examples(np.random.default_rng(0), 300, values=9)
    model = OnlineModel(spec(records=True))
    model.learn(stream.features, stream.labels)
    one = stream.features.contiguous(300)

    def asked(time: int) -> float:
        return float(model.weights.predict(one._replace(times=np.full(300, time)))[5])

    first = [asked(time) for time in (299, 400, 10**12)]

    assert [asked(time) for time in (299, 400, 10**12)] == first
    assert first[0] != first[1] == first[2]


@pytest.mark.parametrize("rate", [0.005, 0.02, 0.2, 0.5])
def test_an_impression_or_a_click_moves_the_input_by_little_whatever_the_click_rate(rate: float) -> None:
    """As many impressions as there are to a click, one of them clicked or none, are little news of a value."""
    records, seen = empty(), round(1 / rate)
    observe(records, 1, 0, 500.0, 500 * rate)
    for clicked in (0.0, 1.0):
        records.counts[0] = 0
        observe(records, 0, 0, float(seen), clicked)

        told = np.log(odds(records, 0, 2, *prior(records, 2)))

        assert abs(told) < 2.2  # two examples alone would have it at -4.6 where .5 % are clicked
