"""The Python client against a real server, through one that fails as it is told: tried again where it can do no harm, and counted once."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import httpx2
import msgspec
import pytest
from hypothesis import given, strategies as st
from sml_online_client import AsyncClient, Client, Features, RefusedError, UnavailableError, messages
from sml_online_client.calls import Attempts

from service.access.bounds.limits import Allowances
from service.access.callers import Callers
from service.access.guard import Access
from service.access.keys import Keys, create as create_key
from service.api import messages as of_server
from service.api.answers import Problem
from stream.records import events
from tests.client.faulty import Faulty, faulty
from tests.helpers.kafka_server import ROOT
from tests.service.api.test_console import served
from tests.service.api.test_several import Two
from tests.service.fakes import Site, trained

CANDIDATES: list[Features] = [{"id": "x", "item": "i1"}, {"id": "y", "item": "i2", "tags": ["a", "b"]}]
CONTEXT: Features = {"user": "u1", "price": 0.5}
FEATURES: Features = {"user": "u1", "item": "i1"}


@pytest.fixture
def server(site: Site) -> Iterator[Faulty]:
    """Serve the site with weights of version 7, behind a server that fails as it is told."""
    with served(site.app) as address, faulty(address) as server:
        site.follower.publish(7, trained())
        yield server


@pytest.fixture
def client(server: Faulty) -> Iterator[Client]:
    with Client(server.url, interval=0.05) as client:
        yield client


def logged(site: Site, topic: str) -> list[dict[str, Any]]:
    return [json.loads(message.value or b"") for message in site.log.messages if message.topic == topic]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (messages.Predictions, of_server.Predictions),
        (messages.Explanations, of_server.Explanations),
        (messages.Served, events.Served),
        (messages.Problem, Problem),
    ],
)
def test_answers_have_the_fields_of_the_servers_own(ours: type[msgspec.Struct], theirs: type[msgspec.Struct]) -> None:
    def shape(kind: Any) -> Any:
        kept = {"anyOf", "type", "properties", "required", "items", "additionalProperties", "$ref", "$defs"}

        def of(schema: Any, *, named: bool = False) -> Any:
            if isinstance(schema, dict):
                return {name: of(part, named=name in ("properties", "$defs")) for name, part in schema.items() if named or name in kept}
            return [of(part) for part in schema] if isinstance(schema, list) else schema

        return of(msgspec.json.schema(kind))

    assert shape(ours) == shape(theirs)


def test_both_clients_return_what_the_api_answers(server: Faulty, client: Client) -> None:
    request = {"candidates": CANDIDATES, "context": CONTEXT, "time": 0}
    raw = {what: httpx.post(f"{server.url}/v1/{what}", json=request).json() for what in ("predict", "explain")}

    async def ask() -> tuple[messages.Predictions, messages.Explanations]:
        async with AsyncClient(server.url) as other:
            return await other.predict(CANDIDATES, CONTEXT, time=0), await other.explain(CANDIDATES, CONTEXT, time=0)

    answers = [(client.predict(CANDIDATES, CONTEXT, time=0), client.explain(CANDIDATES, CONTEXT, time=0)), asyncio.run(ask())]

    for predicted, explained in answers:
        assert [(each.id, each.probability) for each in predicted.predictions] == [
            (each["id"], each["probability"]) for each in raw["predict"]["predictions"]
        ]
        assert predicted.version == 7
        assert msgspec.to_builtins(explained.explanations) == raw["explain"]["explanations"]
    assert client.predict([{"id": "x", "uzer": "u1"}], debug=True).ignored == ["uzer"]


@pytest.mark.parametrize("fault", ["busy", "away", "reset", "lost"])
def test_what_fails_in_passing_is_tried_again(server: Faulty, client: Client, fault: str) -> None:
    async def ask() -> int:
        async with AsyncClient(server.url) as other:
            return (await other.predict(CANDIDATES)).version

    server.faults[:] = [fault] * 2
    sync = client.predict(CANDIDATES).version
    server.faults[:] = [fault] * 2

    assert (sync, asyncio.run(ask())) == (7, 7)
    assert len(server.requests) == 6


def test_a_prediction_whose_answer_was_lost_logs_its_impressions_under_the_same_ids(site: Site, server: Faulty, client: Client) -> None:
    server.faults[:] = ["lost"]
    answer = client.predict(CANDIDATES, CONTEXT, log=True)
    other = client.predict(CANDIDATES, CONTEXT, log=["y"])

    ids = [each["impression_id"] for each in logged(site, site.topics.impressions)]
    first = [each.impression_id for each in answer.predictions]
    assert ids == first * 2 + [other.predictions[1].impression_id]
    assert len(set(ids)) == 3


@pytest.mark.parametrize("log", ["chosen", {"top": 1}])
def test_what_might_log_another_choice_is_tried_again_only_where_nothing_was_logged(
    site: Site, server: Faulty, client: Client, log: Any
) -> None:
    server.faults[:] = ["busy", "lost"]
    with pytest.raises(UnavailableError):
        client.predict(CANDIDATES, choose=1, log=log)

    assert len(logged(site, site.topics.impressions)) == 1
    server.faults[:] = ["busy"]
    assert len(client.predict(CANDIDATES, choose=1, log=log).chosen) == 1


def test_retry_after_is_waited_for(server: Faulty, client: Client) -> None:
    server.faults[:] = ["away for a second"]
    client.predict(CANDIDATES)

    (_, first), (_, second) = server.requests
    assert second - first >= 1


@given(st.lists(st.sampled_from(["", "0", "1", "2", "-1", "nan", "soon", "Fri, 31 Dec 1999 23:59:59 GMT"]), max_size=50))
def test_waits_are_as_long_as_asked_and_end_with_the_time_of_the_call(asked: list[str]) -> None:
    attempts, waited = Attempts(30, repeatable=True), 0.0
    with suppress(UnavailableError):
        for value in asked:
            wait = attempts.wait_after(httpx2.Response(503, headers={"retry-after": value}, content=b"a proxy's own page"))
            assert (int(value) if value.isdigit() else 0) <= wait
            attempts._end -= wait  # as if it had been waited
            waited += wait

    assert waited <= 30


@pytest.mark.parametrize("asked", ["31", "99999999999", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_who_is_asked_to_wait_longer_than_the_call_may_take_does_not_wait(asked: str) -> None:
    with pytest.raises(UnavailableError) as away:
        Attempts(30, repeatable=True).wait_after(httpx2.Response(429, headers={"retry-after": asked}, content=b""))

    assert away.value.retry_after > 30


@pytest.mark.parametrize("retry_after", ["", "Fri, 31 Dec 99999999999999999999 23:59:59 GMT", "Fri, 31 Dec 2030 23:59:59 +99999999999999"])
@pytest.mark.parametrize("body", [b'{"detail": "caf\xe9"}', b'{"detail": ' + b"[" * 100_000, b"\xff", b"<h1>away</h1>"])
def test_whatever_a_proxy_answers_is_a_server_that_is_away(body: bytes, retry_after: str) -> None:
    """Another error would end the thread that sends the events."""
    answer = httpx2.Response(503, headers={"retry-after": retry_after}, content=body)

    assert Attempts(5.0, repeatable=True).wait_after(answer) < 1
    with pytest.raises(UnavailableError, match="503: "):
        Attempts(5.0, repeatable=False).wait_after(answer)


def test_a_call_ends_when_its_time_is_over(server: Faulty) -> None:
    server.faults[:] = ["slow", "slow"]
    with Client(server.url, timeout=0.3) as client:
        start = time.monotonic()
        with pytest.raises(UnavailableError):
            client.predict(CANDIDATES)

    assert time.monotonic() - start < 5
    assert len(server.requests) == 1


def test_a_wrong_request_is_refused_at_once_with_the_field_at_fault(server: Faulty, client: Client) -> None:
    with pytest.raises(RefusedError, match="expected a string or an integer") as refused:
        client.predict([{"item": "i1"}])

    assert (refused.value.status, refused.value.field, len(server.requests)) == (422, "candidates[0].id", 1)
    with pytest.raises(ValueError, match=r"got 'localhost:8000', expected http://"):
        Client("localhost:8000")


def test_a_key_lets_in_and_nobody_without(tmp_path: Path) -> None:
    key = create_key(tmp_path / "keys.json", ["predict"], "shop")[0]
    site = Site(access=Access(Callers(Keys(tmp_path / "keys.json")), Allowances(1e9, 1e9, 1_000)))
    with served(site.app) as address, Client(address, key=key) as shop, Client(address) as anybody:
        site.follower.publish(7, trained())

        assert shop.predict(CANDIDATES).version == 7
        with pytest.raises(RefusedError, match="401"):
            anybody.predict(CANDIDATES)


def test_a_model_of_a_server_that_has_several_is_asked_by_its_name() -> None:
    two = Two()
    with served(two.app) as url, Client(url, model="cvr") as cvr, Client(url) as first:
        for version, site in enumerate(two.sites.values(), 1):
            site.follower.publish(version, trained())
        cvr.click(cvr.impression(FEATURES))
        cvr.flush()

        assert (cvr.predict(CANDIDATES).version, first.predict(CANDIDATES).version) == (2, 1)
    assert [len(site.log.messages) for site in two.sites.values()] == [0, 2]


def test_events_are_sent_in_batches_as_they_were_when_recorded(site: Site, server: Faulty, client: Client) -> None:
    features: dict[str, Any] = {"user": "u1", "tags": ["a"]}
    ids = []
    before = int(time.time() * 1000)
    for number in range(500):
        features["tags"][0] = str(number)
        ids.append(client.impression(features))
    client.click(ids[3], value=2.5)
    client.flush()

    impressions, clicks = logged(site, site.topics.impressions), logged(site, site.topics.clicks)
    assert [each["impression_id"] for each in impressions] == ids
    assert [each["features"]["tags"] for each in impressions] == [[str(number)] for number in range(500)]
    assert (clicks[0]["impression_id"], clicks[0]["value"]) == (ids[3], 2.5)
    assert before <= impressions[0]["time"] <= clicks[0]["time"] <= time.time() * 1000
    assert len(server.requests) <= 20
    assert len(set(ids)) == 500


def test_events_come_through_an_outage_and_keep_their_ids(site: Site, server: Faulty, client: Client) -> None:
    server.faults[:] = ["away", "reset", "lost", "busy"]
    ids = [client.impression(FEATURES) for _ in range(10)]
    client.flush()

    assert {each["impression_id"] for each in logged(site, site.topics.impressions)} == set(ids)
    assert not +client.lost


def test_a_bad_event_is_refused_alone(site: Site, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    good = [client.impression(FEATURES) for _ in range(5)]
    client.impression(FEATURES, time=4_000_000_000_000)
    good.append(client.impression(FEATURES))
    client.impression(FEATURES, impression_id="x" * 2_000)
    client.flush()

    assert [each["impression_id"] for each in logged(site, site.topics.impressions)] == good
    assert client.lost["refused"] == 2
    assert "time: got 4000000000000" in caplog.text
    with pytest.raises(TypeError):
        client.impression({"user": object()})  # type: ignore[dict-item]


def test_a_batch_that_is_too_large_is_halved(site: Site, server: Faulty, client: Client) -> None:
    server.faults[:] = ["too large", "too large"]
    ids = [client.impression(FEATURES) for _ in range(8)]
    client.flush()

    assert [each["impression_id"] for each in logged(site, site.topics.impressions)] == ids


def test_a_full_buffer_takes_no_more_and_says_so(site: Site, server: Faulty, caplog: pytest.LogCaptureFixture) -> None:
    server.faults[:] = ["away"] * 100
    with Client(server.url, buffer=2_000, interval=0.01) as client:
        ids = [client.impression(FEATURES) for _ in range(100)]
        taken = 100 - client.lost["full"]
        server.faults.clear()

    assert 10 < taken < 30
    assert [each["impression_id"] for each in logged(site, site.topics.impressions)] == ids[:taken]
    assert caplog.text.count("events are lost") == 1


def test_what_cant_be_sent_at_the_end_is_lost_and_said(server: Faulty, caplog: pytest.LogCaptureFixture) -> None:
    server.faults[:] = ["away"] * 1_000
    with Client(server.url, timeout=0.2) as client:
        client.impression(FEATURES)
    client.impression(FEATURES)

    assert client.lost == {"exit": 2}
    assert "1 events are lost" in caplog.text


def test_a_process_that_ends_in_an_error_sends_what_waits(site: Site, server: Faulty) -> None:
    script = f"from sml_online_client import Client\nc = Client({server.url!r}, interval=60)\nc.click(c.impression({FEATURES}))\nraise ValueError"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT / "client", capture_output=True, timeout=60, check=False)

    assert len(logged(site, site.topics.impressions)) == len(logged(site, site.topics.clicks)) == 1


def test_the_async_client_records_without_waiting(site: Site, server: Faulty) -> None:
    async def record() -> str:
        async with AsyncClient(server.url) as client:
            impression_id = client.impression(FEATURES)
            client.click(impression_id)
            await client.flush()
            return impression_id

    impression_id = asyncio.run(record())

    assert [each["impression_id"] for each in logged(site, site.topics.clicks)] == [impression_id]


def test_the_package_needs_two_libraries_and_brings_its_types(tmp_path: Path) -> None:
    uv: Callable[..., object] = lambda *words: subprocess.run(  # noqa: E731
        [str(Path(sys.executable).parent / "uv"), *words], cwd=tmp_path, check=True, capture_output=True
    )
    uv("build", "--wheel", "--out-dir", ".", str(ROOT / "client"))
    uv("venv", "bare")
    uv("pip", "install", "--python", "bare", *map(str, tmp_path.glob("*.whl")))
    script = (
        "import sml_online_client, importlib.metadata as m, pathlib; print(m.requires('sml-online-client')); "
        "print(pathlib.Path(sml_online_client.__file__).with_name('py.typed').exists())"
    )
    done = subprocess.run([tmp_path / "bare/bin/python", "-I", "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["['httpx2>=2', 'msgspec>=0.20']", "True"]
