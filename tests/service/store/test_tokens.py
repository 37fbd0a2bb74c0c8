from __future__ import annotations

import pytest
from sqlalchemy import text

from normlab.errors import InvalidSpec
from service.store import tokens
from service.store.database import Database
from tests.tokens import create_token, revoke_token


def test_a_token_gives_its_owner_and_its_scopes(database: Database) -> None:
    token = create_token(database, "ada", ["read", "submit"])
    found = tokens.find(database, token)
    assert found is not None
    assert (found.owner, found.scopes, found.ended) == ("ada", ("read", "submit"), None)
    assert tokens.find(database, token + "x") is None


def test_tokens_are_long_and_never_the_same(database: Database) -> None:
    made = {create_token(database, "ada", ["read"]) for _ in range(5)}
    assert len(made) == 5
    assert min(map(len, made)) >= 43  # 256 bits in base 64


def test_the_database_does_not_know_the_token_itself(database: Database) -> None:
    token = create_token(database, "ada", ["admin"])
    with database.begin() as connection:
        stored = connection.execute(text("select token::text from token")).scalar_one()
    assert token not in stored
    assert token.encode().hex() not in stored


def test_a_revoked_token_is_not_accepted(database: Database) -> None:
    token = create_token(database, "ada", ["read"])
    revoke_token(database, token)
    found = tokens.find(database, token)
    assert found is not None
    assert found.ended == "revoked"


def test_a_token_that_an_operator_chose_can_be_accepted_twice(database: Database) -> None:
    for owner in ("first", "second"):
        tokens.accept(database, "a token of the operator", owner, ["admin"])
    found = tokens.find(database, "a token of the operator")
    assert found is not None
    assert (found.owner, found.scopes) == ("second", ("admin",))


@pytest.mark.parametrize("owner", ["", "a\u202eb", "a\nb", "\x1b[31mred"])
def test_the_name_of_an_owner_is_plain_text(database: Database, owner: str) -> None:
    with pytest.raises(InvalidSpec, match="cannot be shown"):
        create_token(database, owner, ["read"])
