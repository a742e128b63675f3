"""Allowances: over any time a caller gets at most its burst and its rate, and no more at once; and the books stay small."""

import asyncio
import time

import httpx
import pytest
from hypothesis import given, strategies as st

from service.access.bounds import limits
from service.access.bounds.limits import Allowances
from service.access.callers import Callers
from service.access.guard import Access
from tests.service.fakes import Site


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.floats(0, 3), min_size=1, max_size=60), st.floats(0.5, 5), st.integers(1, 5))
def test_no_caller_gets_more_than_its_burst_and_its_rate(pauses: list[float], rate: float, burst: int) -> None:
    clock = Clock()
    allowances = Allowances(rate, burst, 1, clock)
    entered = 0
    for pause in pauses:
        clock.now += pause
        if not allowances.enter("a"):
            entered += 1
            allowances.leave("a")

        assert entered <= burst + rate * clock.now + 1e-6


@given(st.floats(0.5, 5))
def test_who_waits_as_long_as_told_comes_in(rate: float) -> None:
    clock = Clock()
    allowances = Allowances(rate, 1, 1, clock)
    allowances.enter("a")
    allowances.leave("a")

    clock.now += allowances.enter("a") + 1e-9

    assert allowances.enter("a") == 0


def test_requests_in_flight_are_bounded_until_one_ends() -> None:
    allowances = Allowances(1e6, 1e6, in_flight=2)

    assert [allowances.enter("a") > 0 for _ in range(3)] == [False, False, True]
    assert allowances.enter("b") == 0
    allowances.leave("a")
    assert allowances.enter("a") == 0


def test_what_is_given_back_counts_no_more() -> None:
    allowances = Allowances(0.001, 1, 1, Clock())

    for _ in range(5):
        assert allowances.enter("a") == 0
        allowances.leave("a", refund=True)


def test_a_million_callers_are_not_all_remembered_and_one_with_requests_in_flight_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CALLERS", 100)
    allowances = Allowances(0.001, 1, 5, Clock())
    allowances.enter("busy")
    for n in range(1_000):
        allowances.enter(f"{n}")
        allowances.leave(f"{n}")

    assert len(allowances._callers) <= 100
    assert allowances.enter("busy") > 0


async def _statuses(site: Site, count: int) -> list[int]:
    transport = httpx.ASGITransport(site.app)
    click = {"impression_id": "i1", "time": 1_760_000_000_000}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return [answer.status_code for answer in await asyncio.gather(*(client.post("/v1/clicks", json=click) for _ in range(count)))]


def test_a_client_that_asks_for_too_much_at_once_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(access=Access(Callers(), Allowances(1e6, 1e6, in_flight=3)))
    append = site.log.append

    def slow(messages: object) -> list[int]:
        time.sleep(0.2)
        return append(messages)  # type: ignore[arg-type]

    monkeypatch.setattr(site.log, "append", slow)

    statuses = asyncio.run(_statuses(site, 8))

    assert sorted(statuses) == [202] * 3 + [429] * 5
    assert asyncio.run(_statuses(site, 3)) == [202] * 3
