"""Who may do what: a caller does what its roles allow, and learns nothing else from a refusal."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from fastapi.testclient import TestClient

from service.access.bounds.limits import Allowances
from service.access.callers import MAX_WAITING, Callers, TooManyAttemptsError
from service.access.guard import Access
from service.access.keys import Keys, create
from service.access.origin import allowed_hosts
from service.access.roles import Caller, Role
from tests.service.fakes import TRAINED_THROUGH, Site, trained

PREDICT = {"candidates": [{"id": "a"}]}
CLICK = {"impression_id": "i1", "time": TRAINED_THROUGH}
HOSTS = allowed_hosts("127.0.0.1", ["testserver"])


@contextlib.contextmanager
def serving(access: Access) -> Iterator[TestClient]:
    site = Site(access=access)
    with site.client() as client:
        site.follower.publish(7, trained())
        yield client


class Held:
    """A file of keys, one for each role, and a server that takes them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "keys.json"
        self.keys: dict[Role, str] = {role: create(self.path, [role])[0] for role in ("predict", "ingest", "operate", "read")}
        self.callers = Callers(Keys(self.path))

    def header(self, role: Role) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[role]}"}


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Held:
    return Held(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def guarded(held: Held) -> Iterator[TestClient]:
    with serving(Access(Callers(Keys(held.path)), Allowances(1e6, 1e6, 100), HOSTS)) as client:
        yield client


ENDPOINTS = [
    ("POST", "/v1/predict", PREDICT, "predict"),
    ("POST", "/v1/explain", PREDICT, "predict"),
    ("POST", "/v1/clicks", CLICK, "ingest"),
    ("POST", "/v1/impressions", {**CLICK, "features": {}}, "ingest"),
    ("GET", "/v1/model", None, "read"),
    ("GET", "/metrics", None, "read"),
    ("DELETE", "/v1/users/u17", None, "operate"),
    ("GET", "/made-up", None, "read"),
    ("POST", "/made-up", None, "operate"),
]


@pytest.mark.parametrize(("method", "path", "body", "role"), ENDPOINTS)
def test_an_endpoint_answers_those_who_have_its_role_and_nobody_else(
    guarded: TestClient, held: Held, method: str, path: str, body: object, role: Role
) -> None:
    statuses = {each: guarded.request(method, path, json=body, headers=held.header(each)).status_code for each in held.keys}

    assert statuses.pop(role) not in {401, 403}
    assert set(statuses.values()) == {403}
    assert guarded.request(method, path, json=body).status_code == 401


def test_a_prediction_that_logs_impressions_needs_the_role_of_those_who_send_them(held: Held) -> None:
    both, _ = create(held.path, ["predict", "ingest"])
    site = Site(access=Access(Callers(Keys(held.path)), Allowances(1e6, 1e6, 100), HOSTS))
    with site.client() as client:
        site.follower.publish(7, trained())

        def ask(key: str, **more: object) -> tuple[int, int]:
            answer = client.post("/v1/predict", json=PREDICT | more, headers={"Authorization": f"Bearer {key}"} if key else {})
            assert answer.status_code == 200 or set(answer.json()) == {"detail"}
            return answer.status_code, len(site.log.messages)

        assert ask(held.keys["predict"]) == (200, 0)
        assert ask(held.keys["predict"], log=True) == (403, 0)
        assert ask(held.keys["ingest"], log=True) == (403, 0)
        assert ask("", log=True) == (401, 0)
        assert ask(both, log=True) == (200, 1)


@pytest.mark.parametrize(("name", "prefix"), [("Authorization", "Bearer "), ("X-API-Key", "")])
def test_a_credential_stands_once(guarded: TestClient, held: Held, name: str, prefix: str) -> None:
    answer = guarded.get("/v1/model", headers=[(name, prefix + held.keys["read"])] * 2)

    assert (answer.status_code, answer.json()["detail"]) == (400, f"{name}: got 2, expected one")


def test_no_answer_sends_a_client_to_the_host_that_it_named(guarded: TestClient, held: Held) -> None:
    for path in ("/v1/users", "/v1/model/", "/metrics/", "/v1/predict/"):
        answer = guarded.get(path, headers={**held.header("read"), "Host": "192.0.2.9"}, follow_redirects=False)

        assert (answer.status_code, answer.headers.get("location")) == (404, None)


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/openapi.json", "/healthz", "/readyz"]
)
def test_pages_without_data_and_probes_need_no_key(guarded: TestClient, path: str) -> None:
    assert guarded.get(path).status_code == 200


def test_a_key_may_come_in_a_header_of_its_own(guarded: TestClient, held: Held) -> None:
    assert guarded.get("/v1/model", headers={"X-API-Key": held.keys["read"]}).status_code == 200


def test_a_refusal_says_the_same_of_an_unknown_id_and_of_a_wrong_secret(guarded: TestClient, held: Held) -> None:
    wrong = held.keys["read"][:-3] + "AAA"
    unknown = f"sml_00000000_{held.keys['read'][13:]}"
    answers = [guarded.get("/v1/model", headers={"Authorization": f"Bearer {key}"}) for key in (wrong, unknown, "x", "a.b.c")]

    assert {answer.status_code for answer in answers} == {401}
    assert len({(answer.text, answer.headers["www-authenticate"]) for answer in answers}) == 1
    assert "sml_" not in answers[0].text


def test_a_refusal_names_how_to_come_in(guarded: TestClient, held: Held) -> None:
    nobody, wrong_role = guarded.get("/v1/model"), guarded.get("/v1/model", headers=held.header("ingest"))

    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, 'Bearer realm="sml"')
    assert (wrong_role.status_code, wrong_role.json()) == (403, {"detail": "this needs the role 'read'"})


def test_a_flood_of_wrong_secrets_is_bounded_and_holds_up_no_key_that_is_known(guarded: TestClient, held: Held) -> None:
    assert guarded.get("/v1/model", headers=held.header("read")).status_code == 200
    wrong = {"Authorization": f"Bearer {held.keys['ingest'][:-3]}AAA"}

    start = time.monotonic()
    statuses = [guarded.get("/v1/model", headers=wrong).status_code for _ in range(100)]
    took = time.monotonic() - start

    assert statuses[:10] == [401] * 10
    assert statuses.count(401) <= 11 + took
    assert statuses[-1] == 429
    assert guarded.get("/v1/model", headers=held.header("read")).status_code == 200


def test_who_guesses_with_the_id_of_a_key_keeps_its_holder_out_of_nothing(held: Held) -> None:
    callers, key = Callers(Keys(held.path)), held.keys["ingest"]

    async def guess(number: int) -> None:
        with contextlib.suppress(TooManyAttemptsError):
            assert await callers.verify(f"{key[:-4]}{number:04}", f"192.0.2.{number // 20}") is None

    async def run() -> Caller | None:
        guesses = [asyncio.create_task(guess(number)) for number in range(60)]
        await asyncio.sleep(0)
        found = await callers.verify(key, "198.51.100.7")
        await asyncio.gather(*guesses)
        return found

    found = asyncio.run(run())

    assert found is not None
    assert found.roles == {"ingest"}


class SlowKeys:
    """Keys of which none is right, each found out in a thread."""

    verified = 0

    def known(self, _: str) -> None:
        """Know none."""

    def may_be(self, _: str) -> bool:
        """Let each be verified."""
        return True

    def verify(self, _: str) -> Caller | None:
        """Count it."""
        self.verified += 1
        time.sleep(0.001)
        return None


def test_guesses_from_a_thousand_addresses_wait_in_a_bounded_queue() -> None:
    keys, refused = SlowKeys(), list[float]()
    callers = Callers(cast("Keys", keys))

    async def guess(number: int) -> None:
        try:
            await callers.verify(f"{number}", f"client {number % 1_000}")
        except TooManyAttemptsError as error:
            refused.append(error.wait)

    async def run() -> None:
        await asyncio.gather(*(guess(number) for number in range(2_000)))

    asyncio.run(run())

    assert keys.verified == MAX_WAITING
    assert len(refused) == 2_000 - MAX_WAITING


def test_a_key_that_comes_in_many_requests_at_once_is_verified_once(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys(held.path)
    verify, verified = keys.verify, list[str]()

    def counted(key: str) -> Caller | None:
        verified.append(key)
        return verify(key)

    monkeypatch.setattr(keys, "verify", counted)
    callers = Callers(keys)

    async def run() -> list[Caller | None]:
        return await asyncio.gather(*(callers.verify(held.keys["read"], "192.0.2.1") for _ in range(100)))

    found = asyncio.run(run())

    assert len(found) == 100
    assert None not in found
    assert len(verified) == 1


def test_requests_a_second_are_bounded_for_each_key_alone(held: Held) -> None:
    with serving(Access(held.callers, Allowances(0.1, 3, 100), HOSTS)) as client:
        statuses = [client.post("/v1/predict", json=PREDICT, headers=held.header("predict")).status_code for _ in range(5)]
        refused = client.post("/v1/predict", json=PREDICT, headers=held.header("predict"))

        assert statuses == [200, 200, 200, 429, 429]
        assert 1 <= int(refused.headers["retry-after"]) <= 10
        assert client.get("/v1/model", headers=held.header("read")).status_code == 200


def test_where_nobody_needs_a_key_each_address_has_its_own_allowance() -> None:
    with serving(Access(Callers(), Allowances(0.1, 2, 100))) as client:
        assert [client.post("/v1/predict", json=PREDICT).status_code for _ in range(3)] == [200, 200, 429]
        assert [client.get("/readyz").status_code for _ in range(5)] == [200] * 5


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "192.0.2.7", "testserver", "LOCALHOST."])
def test_a_server_answers_to_its_names_and_to_addresses(guarded: TestClient, held: Held, host: str) -> None:
    assert guarded.get("/v1/model", headers={**held.header("read"), "Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["rebound.example.org", "127.0.0.1.example.org", "localhost.example.org:8000", "", "localhost@example.org"]
)
def test_a_server_does_not_answer_to_a_name_that_a_page_gave_its_address(guarded: TestClient, held: Held, host: str) -> None:
    answer = guarded.get("/v1/model", headers={**held.header("read"), "Host": host})

    assert answer.status_code == 421
    assert "version" not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://example.org"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
    ],
)
def test_a_page_of_another_site_can_post_nothing(headers: dict[str, str]) -> None:
    site = Site(access=Access(Callers(), Allowances(1e6, 1e6, 100), HOSTS))
    with site.client() as client:
        assert client.post("/v1/clicks", json=CLICK, headers={"Host": "localhost:8000", **headers}).status_code == 403
    assert site.log.messages == []


def test_a_page_of_this_server_and_a_program_can_post() -> None:
    with serving(Access(Callers(), Allowances(1e6, 1e6, 100), HOSTS)) as client:
        own = {"Host": "localhost:8000", "Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"}
        assert client.post("/v1/predict", json=PREDICT, headers=own).status_code == 200
        assert client.post("/v1/predict", json=PREDICT).status_code == 200


def test_no_answer_lets_another_site_read_it(client: TestClient) -> None:
    asked = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}

    for answer in (client.options("/v1/predict", headers=asked), client.get("/v1/model", headers=asked)):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_every_answer_carries_the_security_headers(client: TestClient) -> None:
    for path in ("/", "/docs", "/metrics", "/v1/model", "/made-up"):
        headers = client.get(path).headers

        assert headers["x-content-type-options"] == "nosniff"
        assert ("x-frame-options" in headers) is (path in {"/", "/docs"})
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers.get_list("content-security-policy")[0].startswith("default-src 'none'")
        assert len(headers.get_list("content-security-policy")) == 1
        assert "script-src 'unsafe-inline'" not in headers["content-security-policy"]


def test_a_long_body_is_refused_whether_it_says_its_length_or_not(client: TestClient) -> None:
    piece = b" " * 65_536
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(40):
            sent += 1
            yield piece

    announced, chunked = client.post("/v1/predict", content=piece * 17), client.post("/v1/predict", content=pieces())

    assert {announced.status_code, chunked.status_code} == {413}
    assert announced.json() == {"detail": "the body is longer than 1,048,576 bytes"}


def test_headers_that_are_too_long_are_refused(client: TestClient) -> None:
    assert client.get("/healthz", headers={"X-Much": "x" * 40_000}).status_code == 431


@pytest.mark.parametrize("path", ["/", "/docs", "/healthz", "/readyz", "/metrics", "/v1/model", "/openapi.json"])
def test_head_is_answered_as_get_without_a_body(client: TestClient, path: str) -> None:
    got, head = client.get(path), client.head(path)

    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert int(head.headers["content-length"]) > 0


@pytest.mark.parametrize(
    ("path", "methods"), [("/", "GET, HEAD, OPTIONS"), ("/v1/predict", "OPTIONS, POST"), ("/metrics", "GET, HEAD, OPTIONS")]
)
def test_options_says_the_methods_that_a_path_takes(client: TestClient, path: str, methods: str) -> None:
    answer = client.options(path)

    assert (answer.status_code, answer.headers["allow"], answer.content) == (204, methods, b"")


def test_options_of_nothing_is_not_found(client: TestClient) -> None:
    assert client.options("/made-up").status_code == 404


def test_refusals_are_counted(guarded: TestClient, held: Held) -> None:
    guarded.get("/v1/model")

    assert 'sml_server_requests_total{route="none",status="401"} 1.0' in guarded.get("/metrics", headers=held.header("read")).text


@pytest.mark.parametrize(("given", "kept"), [("abc-1.2_3", True), ("a b", False), ("x" * 65, False), ("<script>", False), ("", False)])
def test_an_answer_names_the_request_as_the_client_did_if_that_is_sane(client: TestClient, given: str, *, kept: bool) -> None:
    named = client.get("/healthz", headers={"X-Request-ID": given}).headers["x-request-id"]

    assert (named == given) is kept
    assert named


def test_the_description_of_the_api_says_whether_a_key_is_needed(client: TestClient, guarded: TestClient) -> None:
    assert "security" not in client.get("/openapi.json").json()
    assert guarded.get("/openapi.json").json()["components"]["securitySchemes"] == {"key or token": {"type": "http", "scheme": "bearer"}}
