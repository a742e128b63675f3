"""JSON Web Tokens of a real issuer over HTTP: only what it signed, for us, and still valid, counts; and it is never flooded."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from service.access import tokens as module
from service.access.bounds.limits import Allowances
from service.access.callers import Callers
from service.access.guard import Access
from service.access.tokens import Tokens
from tests.service.fakes import Site, trained

AUDIENCE = "sml"


class Issuer:
    """An issuer on this machine, which counts how often it is asked for its keys."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {"a": rsa.generate_private_key(65537, 2048)}
        self.asked = 0
        self.away = False
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += self.path == "/keys"
                body = json.dumps(issuer.keys_document() if self.path == "/keys" else issuer.document()).encode()
                self.send_response(503 if issuer.away else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def document(self) -> dict[str, str]:
        return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}

    def keys_document(self) -> dict[str, Any]:
        algorithms = {"rsa": jwt.algorithms.RSAAlgorithm, "ec": jwt.algorithms.ECAlgorithm}
        kinds = {kid: "rsa" if isinstance(key, rsa.RSAPrivateKey) else "ec" for kid, key in self.keys.items()}
        return {"keys": [{**algorithms[kinds[kid]].to_jwk(key.public_key(), as_dict=True), "kid": kid} for kid, key in self.keys.items()]}  # type: ignore[attr-defined]

    def token(self, kid: str = "a", *, key: Any = None, algorithm: str = "RS256", **claims: Any) -> str:
        standard = {"iss": self.url, "aud": AUDIENCE, "sub": "shop", "exp": int(time.time()) + 600, "roles": ["predict"]}
        held = {name: value for name, value in {**standard, **claims}.items() if value is not None}
        return jwt.encode(held, key or self.keys[kid], algorithm, {"kid": kid})


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    yield issuer
    issuer.server.shutdown()
    issuer.server.server_close()


@pytest.fixture
def tokens(issuer: Issuer) -> Tokens:
    return Tokens(issuer.url, AUDIENCE)


def test_a_token_stands_for_the_roles_that_it_names(issuer: Issuer, tokens: Tokens) -> None:
    assert tokens.verify(issuer.token()) == ("jwt:shop", frozenset({"predict"}))
    assert tokens.verify(issuer.token(roles=None, scope="openid ingest read")) == ("jwt:shop", frozenset({"ingest", "read"}))
    assert tokens.verify(issuer.token(roles=["admin"])) == ("jwt:shop", frozenset())


def test_a_subject_cannot_break_a_line_of_the_log(issuer: Issuer, tokens: Tokens) -> None:
    caller = tokens.verify(issuer.token(sub="shop\nroot: promoted"))

    assert caller
    assert caller.name == "jwt:shop?root: promoted"


def test_a_token_of_an_elliptic_curve_counts_too(issuer: Issuer, tokens: Tokens) -> None:
    issuer.keys["e"] = ec.generate_private_key(ec.SECP256R1())

    assert tokens.verify(issuer.token("e", algorithm="ES256"))


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 1_000},
        {"exp": None},
        {"aud": "another"},
        {"aud": None},
        {"iss": "https://another.example.org"},
        {"iss": None},
        {"nbf": 9_999_999_999},
    ],
)
def test_a_token_that_is_old_or_meant_for_others_counts_for_nothing(issuer: Issuer, tokens: Tokens, claims: dict[str, Any]) -> None:
    assert tokens.verify(issuer.token(**claims)) is None


def test_a_token_without_a_signature_counts_for_nothing(issuer: Issuer, tokens: Tokens) -> None:
    claims = {"iss": issuer.url, "aud": AUDIENCE, "exp": int(time.time()) + 600, "roles": ["operate"]}

    assert tokens.verify(jwt.encode(claims, "", "none", {"kid": "a"})) is None


def test_a_public_key_cannot_be_passed_off_as_a_shared_secret(issuer: Issuer, tokens: Tokens) -> None:
    public = issuer.keys["a"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header, claims = (
        {"alg": "HS256", "kid": "a"},
        {"iss": issuer.url, "aud": AUDIENCE, "exp": int(time.time()) + 600, "roles": ["operate"]},
    )
    signed = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims))
    mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(signed.encode(), public)

    assert tokens.verify(f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}") is None


def test_a_token_that_another_key_signed_counts_for_nothing(issuer: Issuer, tokens: Tokens) -> None:
    assert tokens.verify(issuer.token(key=rsa.generate_private_key(65537, 2048))) is None


DEEP = base64.urlsafe_b64encode(b"[" * 3_000).decode()


@pytest.mark.parametrize(
    "token", [f"{DEEP}.e30.e30", f"{'A' * 100_000}.e30.e30", "", "a.b.c", "..", "e30.e30.e30", "\x00.\x00.\x00", "é.é.é"]
)
def test_what_is_no_token_counts_for_nothing(tokens: Tokens, token: str) -> None:
    assert tokens.verify(token) is None


def test_the_issuers_keys_are_asked_for_once(issuer: Issuer, tokens: Tokens) -> None:
    for n in range(20):
        assert tokens.verify(issuer.token(sub=f"{n}"))

    assert issuer.asked == 1


def test_a_flood_of_unknown_keys_does_not_flood_the_issuer(issuer: Issuer, tokens: Tokens) -> None:
    stranger = rsa.generate_private_key(65537, 2048)
    for n in range(50):
        assert tokens.verify(issuer.token(f"made-up-{n}", key=stranger)) is None

    assert issuer.asked <= 2


def test_an_issuer_that_is_away_is_not_flooded_either(issuer: Issuer, tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    issuer.away = True
    token = issuer.token()
    start = time.monotonic()
    assert [tokens.verify(token) for _ in range(50)] == [None] * 50
    assert time.monotonic() - start < 5

    issuer.away = False
    monkeypatch.setattr(module, "FETCH_EVERY", 0.0)
    assert tokens.verify(token)


def test_a_new_key_of_the_issuer_counts_after_a_moment(issuer: Issuer, tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FETCH_EVERY", 0.0)
    assert tokens.verify(issuer.token())

    issuer.keys["b"] = rsa.generate_private_key(65537, 2048)

    assert tokens.verify(issuer.token("b"))


def test_a_token_that_was_verified_is_known_until_it_ends(issuer: Issuer) -> None:
    now = time.time()
    tokens = Tokens(issuer.url, AUDIENCE, lambda: now)
    token = issuer.token(exp=int(now) + 20)
    assert tokens.known(token) is None
    tokens.verify(token)

    assert tokens.known(token)
    now += 51  # more than the leeway after it ended
    assert tokens.known(token) is None


def test_an_issuer_that_describes_another_is_not_believed(issuer: Issuer) -> None:
    assert Tokens(f"{issuer.url}/", AUDIENCE).verify(issuer.token(iss=f"{issuer.url}/")) is None


def test_a_server_takes_tokens_as_it_takes_keys(issuer: Issuer, tokens: Tokens) -> None:
    site = Site(access=Access(Callers(tokens=tokens), Allowances(1e6, 1e6, 10)))
    with site.client() as client:
        site.follower.publish(7, trained())

        def status(token: str) -> int:
            return client.post("/v1/predict", json={"candidates": [{"id": 1}]}, headers={"Authorization": f"Bearer {token}"}).status_code

        assert [status(issuer.token()) for _ in range(2)] == [200, 200]
        assert status(issuer.token(roles=["read"])) == 403
        assert status(issuer.token(exp=1_000)) == 401
