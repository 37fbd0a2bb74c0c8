"""The owner and permissions of a token, looked up in the database and cached for seconds."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass

from pydantic import SecretStr
from starlette.concurrency import run_in_threadpool

from api.strangers import Strangers
from normlab.errors import Forbidden, ServiceUnavailable, Unauthorized
from service.store import tokens
from service.store.database import Database
from service.store.tokens import Scope

OPERATOR = "admin"  # the owner of the token in the settings
_LOOK_UPS = 4  # concurrent look-ups: invalid tokens cannot use up all threads and connections

_INCLUDED: dict[Scope, frozenset[Scope]] = {
    "read": frozenset({"read"}),
    "submit": frozenset({"read", "submit"}),
    "admin": frozenset({"read", "submit", "admin"}),
}


@dataclass(frozen=True)
class Caller:
    """The owner of the request's token, and its permissions."""

    owner: str
    scopes: frozenset[Scope]

    def check_owns(self, owner: str, what: str) -> None:
        """Raise unless *what* of *owner* belongs to this caller, or the caller is an admin."""
        if owner != self.owner and "admin" not in self.scopes:
            raise Forbidden(
                f"{what} belongs to {owner!r} and this token to {self.owner!r}; "
                "its owner or an admin token can do this"
            )


class Callers:
    """Finds callers by their tokens; a revoked token works for at most *keep_s* more seconds."""

    def __init__(
        self,
        database: Database,
        operator_token: SecretStr | None,
        strangers: Strangers,
        keep_s: float = 3.0,
    ) -> None:
        self._database = database
        self._operator_token = operator_token
        self._strangers = strangers
        self._keep_s = keep_s
        self._looking_up = asyncio.Semaphore(_LOOK_UPS)
        self._known: dict[str, tuple[float, Caller]] = {}

    async def admit(self, token: str, host: str) -> Caller:
        """Return the caller of *token* from *host*; count wrong tokens, and delay their answers."""
        try:
            return await self.find(token)
        except Unauthorized:
            await self._strangers.hold_up(host)
            raise

    async def find(self, token: str) -> Caller:
        """Return the caller of *token*; raise Unauthorized if it is unknown."""
        now = time.monotonic()
        until, caller = self._known.get(token, (0.0, None))
        if caller is None or until < now:
            async with self._looking_up:
                caller = await run_in_threadpool(self._look_up, token)
            self._known = {t: known for t, known in self._known.items() if known[0] >= now}
            self._known[token] = (now + self._keep_s, caller)
        return caller

    def _look_up(self, token: str) -> Caller:
        if self._is_operators(token):
            return Caller(OPERATOR, _INCLUDED["admin"])
        found = tokens.find(self._database, token)
        if found is None:
            raise Unauthorized("nobody knows this token; it may be mistyped or revoked")
        scopes = frozenset(s for scope in found.scopes for s in _INCLUDED[scope])
        return Caller(found.owner, scopes)

    def _is_operators(self, token: str) -> bool:
        if self._operator_token is None:
            return False
        secret = self._operator_token.get_secret_value()
        return secrets.compare_digest(secret.encode(), token.encode())


@dataclass(frozen=True)
class Standing:
    """Whether the token of a long-lived stream is still valid."""

    callers: Callers
    token: str

    async def holds(self) -> bool:
        """Check again; during a database outage, the last answer stays valid."""
        try:
            caller = await self.callers.find(self.token)
        except Unauthorized:
            return False
        except ServiceUnavailable:
            return True
        return "read" in caller.scopes
