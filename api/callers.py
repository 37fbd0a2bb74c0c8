"""The owner of a token or session, looked up in the database and cached for a few seconds."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, replace

from pydantic import SecretStr
from starlette.concurrency import run_in_threadpool

from api.caller import Caller, Credential
from api.rates import Rates, Stand
from api.strangers import Strangers
from normlab.errors import ServiceUnavailable, Unauthorized
from service.jobs import allowances
from service.store import projects, sessions, tokens
from service.store.database import Database
from service.store.projects import OPERATOR
from service.store.sight import NOTHING, Sight
from service.store.tokens import Scope, Token, hashed

_LOOK_UPS = 4  # concurrent look-ups: invalid tokens cannot use up all threads and connections

_INCLUDED: dict[Scope, frozenset[Scope]] = {
    "read": frozenset({"read"}),
    "submit": frozenset({"read", "submit"}),
    "admin": frozenset({"read", "submit", "admin"}),
}


class Callers:
    """
    Finds callers by their credentials.

    A revoked token is accepted for at most *keep_s* more seconds; an expired one is not accepted.
    """

    def __init__(
        self,
        database: Database,
        operator_token: SecretStr | None,
        strangers: Strangers,
        keep_s: float = 3.0,
        session_idle_s: float = 86_400.0,
    ) -> None:
        self._database = database
        self._operator_token = operator_token
        self._strangers = strangers
        self._keep_s = keep_s
        self._session_idle_s = session_idle_s
        self._looking_up = asyncio.Semaphore(_LOOK_UPS)
        self._known: dict[Credential, tuple[float, Caller]] = {}
        self._asked: dict[Credential, asyncio.Task[Caller]] = {}
        self._rates = Rates()

    async def admit(self, credential: Credential, host: str) -> Caller:
        """Find the caller with *credential*; answers to unknown ones of *host* are delayed."""
        try:
            return await self.find(credential)
        except Unauthorized:
            await self._strangers.hold_up(host)
            raise

    async def find(self, credential: Credential) -> Caller:
        """Return the caller with *credential*; raise Unauthorized if it is unknown."""
        kept = self._known.get(credential)
        if kept is not None and kept[0] > time.monotonic():
            return kept[1]
        # a cached entry ends for all streams of a token at once; one look-up serves them all
        asked = self._asked.get(credential)
        if asked is None:
            asked = asyncio.create_task(self._ask(credential, self._asked))
            self._asked[credential] = asked
        return await asyncio.shield(asked)

    async def _ask(
        self, credential: Credential, asked: dict[Credential, asyncio.Task[Caller]]
    ) -> Caller:
        try:
            async with self._looking_up:
                now = time.monotonic()
                caller, left_s = await run_in_threadpool(self._with_roles, credential)
            if asked is self._asked:  # no token, session or role has ended in the meantime
                self._known = {c: known for c, known in self._known.items() if known[0] > now}
                self._known[credential] = (now + min(self._keep_s, left_s), caller)
            return caller
        finally:
            del asked[credential]

    def count(self, caller: Caller, credential: Credential) -> Stand | None:
        """Count a request of *caller*; return what is left of its rate, or None without a limit."""
        if caller.per_minute is None:
            return None
        # a browser's sessions share the rate of their token
        return self._rates.take(caller.token or credential, caller.owner, caller.per_minute)

    def forget(self) -> None:
        """Empty the cache, because a token, a session or a role has just ended."""
        self._known, self._asked = {}, {}

    def _with_roles(self, credential: Credential) -> tuple[Caller, float]:
        caller, left_s = self._look_up(credential)
        try:
            roles = projects.roles_of(self._database, caller.owner)
            rate = allowances.rate_of(self._database, caller.owner)
        except ServiceUnavailable:
            if "admin" not in caller.scopes:
                raise
            return caller, 0.0  # the operator reads the metrics of an API without its database
        return replace(caller, roles=roles, per_minute=rate), left_s

    def _look_up(self, credential: Credential) -> tuple[Caller, float]:
        if credential.kind == "session":
            return self._of_session(credential.secret)
        if secrets.compare_digest(hashed(credential.secret), self._operators_hash()):
            return Caller(OPERATOR, _INCLUDED["admin"]), self._keep_s
        return self._of_token(tokens.find(self._database, credential.secret))

    def _of_session(self, secret: str) -> tuple[Caller, float]:
        session = sessions.find(self._database, secret, self._session_idle_s)
        if session is None:
            raise Unauthorized("this login has ended; log in again at /login")
        if session.token is not None:
            caller, left_s = self._of_token(session.token)
        elif secrets.compare_digest(session.token_sha256, self._operators_hash()):
            caller, left_s = Caller(OPERATOR, _INCLUDED["admin"]), self._keep_s
        else:
            raise Unauthorized("the token of this login no longer exists; log in with another")
        return replace(caller, session=session.id), min(left_s, session.left_s)

    def _of_token(self, found: Token | None) -> tuple[Caller, float]:
        if found is None:
            raise Unauthorized("this token is unknown; it may be mistyped")
        if found.ended is not None:  # only a caller with the complete token is told this
            when = f" at {found.expires_at:%Y-%m-%d %H:%M:%S %Z}" if found.expires_at else ""
            how = f"expired{when}" if found.ended == "expired" else "was revoked"
            raise Unauthorized(f"this token {how}; ask an admin for another")
        scopes = frozenset(s for scope in found.scopes for s in _INCLUDED[scope])
        left_s = self._keep_s if found.left_s is None else found.left_s
        return Caller(found.owner, scopes, found.id), left_s

    def _operators_hash(self) -> bytes:
        if self._operator_token is None:
            return b""
        return hashed(self._operator_token.get_secret_value())


@dataclass(frozen=True)
class Standing:
    """
    Whether a long request, such as a stream, may still continue.

    Args:
        needed: the projects that it reads.
    """

    callers: Callers
    credential: Credential
    needed: Sight = NOTHING

    async def holds(self) -> bool:
        """Check again; during a database outage, the last answer stays valid."""
        return await self.sight() is not None

    async def sight(self, before: Sight | None = NOTHING) -> Sight | None:
        """
        Return what its caller may see now; None if the request may not continue.

        Args:
            before: the answer during a database outage.
        """
        try:
            caller = await self.callers.find(self.credential)
        except Unauthorized:
            return None
        except ServiceUnavailable:
            return before
        sees_all = all(caller.sight.sees(project) for project in self.needed.projects or ())
        return caller.sight if "read" in caller.scopes and sees_all else None
