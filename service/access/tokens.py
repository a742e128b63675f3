"""JSON Web Tokens of an OpenID Connect issuer, whose public keys are fetched from it and kept.

Only asymmetric signatures count: a token can't choose ``none``, or pass a public key off as a shared secret. Whatever tokens come, the
issuer is asked at most once in some seconds.
"""

import hashlib
import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any, NamedTuple

import jwt

from service.access.addresses import is_trusted_url
from service.access.roles import ROLES, Caller

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
LEEWAY = 30  # seconds that the issuer's clock may differ from ours
KEYS_LAST = 900.0  # seconds until the issuer's keys are fetched again
FETCH_EVERY = 10.0  # seconds between two questions to the issuer, whether answered or not
FETCH_TIMEOUT = 5.0  # seconds
REMEMBERED_FOR = 60.0  # seconds that a token that was verified counts without being verified again
MAX_REMEMBERED = 10_000  # tokens
LONGEST = 8_192  # characters


class Remembered(NamedTuple):
    """A token that was verified, and until when that counts, in epoch seconds."""

    caller: Caller
    until: float


class Tokens:
    """The tokens of one issuer for one audience. Safe to use from several threads.

    Args:
        issuer: Its URL, below which ``/.well-known/openid-configuration`` names the URL of its keys.
        audience: What a token must be meant for.
        clock: Epoch seconds.
    """

    def __init__(self, issuer: str, audience: str, clock: Callable[[], float] = time.time) -> None:
        """Begin without keys: the first token has them fetched."""
        self._issuer, self._audience, self._clock = issuer, audience, clock
        self._client: _Keys | None = None
        self._discovered_at = -FETCH_EVERY  # monotonic seconds
        self._remembered: dict[bytes, Remembered] = {}

    def known(self, token: str) -> Caller | None:
        """Return whom a token stands for that was verified a short while ago; None for any other. This never takes long."""
        remembered = self._remembered.get(_digest(token))
        return remembered.caller if remembered and self._clock() < remembered.until else None

    def may_be(self, token: str) -> bool:
        """Return whether this has the form of a token."""
        return token.count(".") == 2 and len(token) <= LONGEST  # noqa: PLR2004 - header, claims, signature

    def verify(self, token: str) -> Caller | None:
        """Return whom a token stands for; None if it is not valid. May wait for the issuer."""
        if not self.may_be(token):
            return None
        try:
            key = self._keys().get_signing_key_from_jwt(token)
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "iss", "aud"]},
            )
        except (jwt.PyJWTError, OSError, ValueError, RecursionError):
            return None
        subject = "".join(each if each.isprintable() else "?" for each in str(claims.get("sub", ""))[:100])  # it goes into logs
        caller = Caller(f"jwt:{subject}", roles_of(claims))
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        until = min(self._clock() + REMEMBERED_FOR, float(claims["exp"]) + LEEWAY)
        self._remembered[_digest(token)] = Remembered(caller, until)
        return caller

    def _keys(self) -> "_Keys":
        """Return the issuer's keys, whose address it is asked for until it answers."""
        if self._client is None:
            if time.monotonic() - self._discovered_at < FETCH_EVERY:
                raise jwt.PyJWKClientError("the issuer did not answer a moment ago")
            self._discovered_at = time.monotonic()
            with urllib.request.urlopen(  # noqa: S310 - the settings allow http and https only
                f"{self._issuer.rstrip('/')}/.well-known/openid-configuration", timeout=FETCH_TIMEOUT
            ) as answer:
                found = json.load(answer)
            if not isinstance(found, dict) or found.get("issuer") != self._issuer or not is_trusted_url(found.get("jwks_uri")):
                raise jwt.PyJWKClientError("the issuer describes another, or names no address of its keys")
            self._client = _Keys(found["jwks_uri"])
        return self._client


class _Keys(jwt.PyJWKClient):
    """The issuer's keys: fetched when they are first needed, when they are old, and when a token names one that is not among them."""

    def __init__(self, url: str) -> None:
        super().__init__(url, lifespan=KEYS_LAST, timeout=FETCH_TIMEOUT, cooldown_duration=FETCH_EVERY)
        self._asked_at = -FETCH_EVERY  # monotonic seconds

    def fetch_data(self) -> Any:
        if time.monotonic() - self._asked_at < FETCH_EVERY:
            raise jwt.PyJWKClientError("the issuer was asked a moment ago")
        self._asked_at = time.monotonic()
        return super().fetch_data()


def roles_of(claims: dict[str, Any]) -> frozenset[str]:
    """Return the roles among a token's claims: of the list ``roles``, and of the words of ``scope``.

    >>> sorted(roles_of({"roles": ["predict", "admin"], "scope": "openid read"}))
    ['predict', 'read']
    """
    roles, scope = claims.get("roles"), claims.get("scope")
    named = [*(roles if isinstance(roles, list) else [roles]), *(scope.split() if isinstance(scope, str) else [])]
    return frozenset(role for role in ROLES if role in named)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
