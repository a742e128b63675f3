"""A sampling takes the share of the negatives that it says, all clicks, and whoever does not know its salt chooses nothing."""

import json
import math

import pytest
from hypothesis import given, strategies as st

from stream.sampling import LEAST, NO_SALT, Sampling
from stream.settings import LearnSettings

IDS = [f"i{number}" for number in range(20_000)]


def record(label: int, impression_id: str = "a", time: int = 1, **others: object) -> bytes:
    return json.dumps({"impression_id": impression_id, "time": time, "label": label, "features": {}} | others).encode()


def taken(sampling: Sampling, ids: list[str], time: int = 1) -> list[str]:
    takes = sampling.chooser()
    return [each for each in ids if takes(each, time)]


@pytest.mark.parametrize("rate", [0.5, 0.1, LEAST])
def test_the_share_that_is_taken_is_the_rate(rate: float) -> None:
    assert len(taken(Sampling.drawn(rate), IDS)) == pytest.approx(len(IDS) * rate, abs=5 * math.sqrt(len(IDS) * rate))


def test_what_a_lower_rate_takes_a_higher_one_with_the_same_salt_takes_too() -> None:
    assert set(taken(Sampling(0.1, NO_SALT), IDS)) < set(taken(Sampling(0.5, NO_SALT), IDS))


def test_a_client_that_chooses_its_ids_without_the_salt_has_no_more_and_no_fewer_of_them_learned() -> None:
    guessed = Sampling(0.1, NO_SALT)
    chosen = taken(guessed, IDS)
    avoided = sorted(set(IDS).difference(chosen))[:2_000]
    drawn = Sampling.drawn(0.1)

    for ids in (chosen, avoided):
        assert len(taken(drawn, ids)) == pytest.approx(200, abs=70)


def test_an_id_that_is_used_again_later_is_chosen_anew() -> None:
    """Else a client could find out by what is predicted which of its ids are left out, and use those alone."""
    sampling = Sampling.drawn(0.1)
    left_out = sorted(set(IDS[:2_000]).difference(taken(sampling, IDS)))

    assert len(taken(sampling, left_out, time=2)) == pytest.approx(len(left_out) * 0.1, abs=70)


@given(st.text(min_size=1), st.integers(0, 2**53), st.integers(0, 2**128 - 1))
def test_a_click_is_never_left_out_and_a_negative_always_as_its_id_and_time_say(impression_id: str, time: int, salt: int) -> None:
    sampling = Sampling(LEAST, f"{salt:032x}")
    try:
        impression_id.encode()
    except UnicodeEncodeError:
        return

    kept = sampling.kept([record(label, impression_id, time) for label in (1, 0, 1)])
    assert kept == ([0, 1, 2] if sampling.chooser()(impression_id, time) else [0, 2])


def test_a_negative_whose_time_is_iso_8601_is_left_out_as_others_are() -> None:
    values = [record(0, each).replace(b'"time": 1', b'"time": "1970-01-01T00:00:01Z"') for each in IDS[:2_000]]
    assert b"1970" in values[0]

    assert len(Sampling.drawn(0.1).kept(values)) == pytest.approx(200, abs=70)


@pytest.mark.parametrize(
    "value",
    [None, b"", b"junk", b"\xff", record(7), record(0)[:-1], b'{"label": 0}', b'{"forget": "00000000000000aa", "until": 5}', b"[" * 9_999],
)
def test_what_is_no_example_is_not_left_out_so_that_it_is_set_aside_or_carried_out(value: bytes | None) -> None:
    assert Sampling.drawn(LEAST).kept([value] * 20) == list(range(20))


def test_a_negative_counts_no_more_than_the_heaviest_example_that_is_accepted() -> None:
    """What that costs the others is measured: tests/test_heavy_examples.py."""
    assert Sampling(LEAST, NO_SALT).weight <= LearnSettings().max_weight


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("keep_negatives", 0, "greater than or equal to 0.01"),
        ("keep_negatives", 0.001, "greater than or equal to 0.01"),
        ("keep_negatives", 1.5, "less than or equal to 1"),
        ("keep_negatives", math.nan, "less than or equal to 1"),
        ("max_lag", 0, "greater than or equal to 1"),
        ("max_lag", "soon", "a duration"),
    ],
)
def test_a_share_that_is_none_and_a_lag_that_is_none_are_refused(setting: str, value: object, expected: str) -> None:
    with pytest.raises(ValueError, match=f"{setting}(.|\n)*{expected}"):
        LearnSettings.model_validate({setting: value})
