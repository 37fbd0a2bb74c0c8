"""One look-up of a caller serves all its waiting requests, and ended tokens are noticed."""

from __future__ import annotations

import asyncio
import threading

import pytest

from api import callers
from api.caller import Caller, Credential
from api.callers import Callers
from api.measures import Measures
from api.strangers import Strangers
from normlab.errors import Unauthorized
from service.store.database import Database
from service.store.tokens import Token
from tests.coroutines import result_of
from tests.tokens import create_token, revoke_token

KEPT_S = 600.0


def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record each look-up of a token in the database."""
    seen: list[str] = []
    find = callers.tokens.find

    def counted(database: Database, secret: str) -> Token | None:
        seen.append(secret)
        return find(database, secret)

    monkeypatch.setattr(callers.tokens, "find", counted)
    return seen


def test_the_streams_of_a_token_share_one_look_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = create_token(database, "ada", ["read"])
    seen = looked_up(monkeypatch)

    async def find() -> list[Caller]:
        found = Callers(database, None, Strangers(Measures().wrong_tokens), KEPT_S)
        return await asyncio.gather(*(found.find(Credential("token", secret)) for _ in range(50)))

    assert {caller.owner for caller in result_of(find())} == {"ada"}
    assert seen == [secret]


def test_whoever_asks_after_a_token_has_ended_does_not_get_an_earlier_answer(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = create_token(database, "ada", ["read"])
    begun, go_on = threading.Event(), threading.Event()
    find = callers.tokens.find

    def slow(database: Database, secret: str) -> Token | None:
        found = find(database, secret)
        if not begun.is_set():
            begun.set()
            assert go_on.wait(30)
        return found

    monkeypatch.setattr(callers.tokens, "find", slow)

    async def ask() -> None:
        found = Callers(database, None, Strangers(Measures().wrong_tokens), KEPT_S)
        before = asyncio.create_task(found.find(Credential("token", secret)))
        assert await asyncio.to_thread(begun.wait, 30)
        revoke_token(database, secret)
        found.forget()
        with pytest.raises(Unauthorized, match="was revoked"):
            await found.find(Credential("token", secret))
        go_on.set()
        assert (await before).owner == "ada"
        with pytest.raises(Unauthorized, match="was revoked"):
            await found.find(Credential("token", secret))

    result_of(ask())
