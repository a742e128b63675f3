"""``sml bench publish``: the stream that it writes, and how it follows a probe, on times made up by hand."""

from itertools import takewhile

import pytest

from service.bench.publish import _hops, _Seen
from service.bench.site import CLICK_AFTER, CLICKED, TICK, visits
from stream.log.topics import Topics
from stream.records.events import decode_click, decode_impression
from stream.records.version import Version

TOPICS = Topics("t")


def test_each_click_comes_a_second_after_its_impression_and_both_together_at_the_rate() -> None:
    shown, clicked = {}, {}
    for due, messages in takewhile(lambda tick: tick[0] < 10, visits(TOPICS, 600)):
        for message in messages:
            assert message.value
            assert message.key
            if message.topic == TOPICS.impressions:
                shown[decode_impression(message.value).impression_id] = due  # type: ignore[union-attr]
            else:
                clicked[decode_click(message.value).impression_id] = due  # type: ignore[union-attr]

    assert {name: due - shown[name] for name, due in clicked.items()} == pytest.approx(dict.fromkeys(clicked, CLICK_AFTER), abs=1.01 * TICK)
    assert len(shown) == pytest.approx(10 * 600 / (1 + CLICKED), rel=0.01)
    assert len(clicked) == pytest.approx(9 * 600 * CLICKED / (1 + CLICKED), rel=0.1)


def version(number: int, learned: int, published_at: int) -> Version:
    return Version(number, "", learned, None, {0: learned}, [], [], "", "", published_at)


def test_a_probe_is_followed_to_the_first_answer_by_a_version_that_learned_its_example() -> None:
    seen = _Seen(
        acknowledged=[(1.0, b"early"), (10.0, b"a"), (11.0, b"b"), (12.0, b"never joined")],
        examples={b"early": (1.0, 0), b"a": (10.01, 4), b"b": (11.03, 5)},
        versions=[(10.02, version(1, 4, 10_015)), (10.25, version(2, 5, 10_210)), (11.25, version(3, 6, 11_230))],
        answers=[(10.03, 1), (10.30, 2), (10.31, 2), (11.30, 4)],
    )

    hops = {hop.hop: hop for hop in _hops(seen, first=5.0)}

    assert [hop.p50 for hop in hops.values()] == pytest.approx([20, 200, 30, 50, 300])
