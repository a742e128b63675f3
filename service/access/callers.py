"""Who a request's credential stands for. What takes time runs in threads, one credential of a kind at a time, with a bounded queue.

A credential that was verified is remembered, so honest callers pass, whatever others try meanwhile. Wrong ones are few: a client may send
ten at once and one a second from then on. They count against the client that sent them, never against the key whose id they name.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeAlias

from service.access.bounds.limits import Allowances
from service.access.keys import Keys
from service.access.roles import ROLES, Caller

if TYPE_CHECKING:
    from service.access.tokens import Tokens

ANYBODY = Caller("anybody", frozenset(ROLES))
MAX_WAITING = 64  # credentials that wait to be verified: three seconds of scrypt
OF_ONE_CLIENT = 4  # of these
WRONG_AT_ONCE, WRONG_A_SECOND = 10, 1.0


class TooManyAttemptsError(Exception):
    """Too many wrong credentials have come, or wait to be verified."""

    def __init__(self, wait: float) -> None:
        """Say after how many seconds to try again."""
        super().__init__("too many wrong keys or tokens")
        self.wait = wait


class _Verifier:
    """Runs one verification at a time, in a thread of its own."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._waiting = 0

    async def run(self, verify: Callable[[str], Caller | None], credential: str) -> Caller | None:
        if self._waiting >= MAX_WAITING:
            raise TooManyAttemptsError(1.0)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, verify, credential)
        finally:
            self._waiting -= 1


class Callers:
    """The callers of a server.

    Args:
        keys: The API keys, if there are any.
        tokens: The tokens, if an issuer is trusted.
    """

    def __init__(self, keys: Keys | None = None, tokens: "Tokens | None" = None) -> None:
        self._keys, self._tokens = keys, tokens
        self._wrong = Allowances(WRONG_A_SECOND, WRONG_AT_ONCE, OF_ONE_CLIENT)
        self._scrypt, self._jwt = _Verifier("scrypt"), _Verifier("jwt")
        self._running: dict[str, asyncio.Task[Caller | None]] = {}  # by credential

    @property
    def open(self) -> bool:
        """Whether nobody needs a credential."""
        return self._keys is None and self._tokens is None

    def known(self, credential: str) -> Caller | None:
        """Return whom a credential stands for that was verified before. This never takes long."""
        found = self._keys.known(credential) if self._keys else None
        return found or (self._tokens.known(credential) if self._tokens else None)

    async def verify(self, credential: str, client: str) -> Caller | None:
        """Return whom a credential stands for, without holding up the loop; None if it is not valid.

        Raises:
            TooManyAttemptsError: this client has sent many wrong ones, or many from everywhere wait to be verified.
        """
        running = self._running.get(credential)
        if running is None:
            if wait := self._wrong.enter(client):
                raise TooManyAttemptsError(wait)
            running = self._running[credential] = asyncio.create_task(self._verify(credential, client))
        return await asyncio.shield(running)  # one verification for all requests that bring the same

    async def _verify(self, credential: str, client: str) -> Caller | None:
        caller = None
        try:
            if self._keys and self._keys.may_be(credential):
                caller = await self._scrypt.run(self._keys.verify, credential)
            elif self._tokens and self._tokens.may_be(credential):
                caller = await self._jwt.run(self._tokens.verify, credential)
        finally:
            self._wrong.leave(client, refund=caller is not None)
            del self._running[credential]
        return caller


Credentials: TypeAlias = dict[bytes, bytes]


def credential_of(headers: Credentials) -> str | None:
    """Return what a request's headers present: a bearer's key or token, or ``X-API-Key``."""
    scheme, _, credential = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return credential.strip().decode("latin-1")
    key = headers.get(b"x-api-key")
    return key.decode("latin-1") if key else None
