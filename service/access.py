"""
`python -m service.access`: change tokens in the database of this user's stack.

It reads one JSON object from standard input (`do`: create, list, revoke or rotate, with its
fields), and writes one to standard output: a record, or a problem with its `code`.
"""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from normlab.errors import Conflict, InvalidSpec, NormlabError, ServiceUnavailable
from normlab.host.private_files import keep_private
from normlab.records.access import Rotation, TokenIssued, TokenPage, TokenRecord, TokenRequest
from normlab.stacks.connection import read_connection
from service.servers.launcher import OWN_TOKEN, write_own_token
from service.servers.servers_file import read_servers
from service.settings import Settings
from service.store import token_changes, tokens
from service.store.audit import Actor
from service.store.database import Database

_Answer = TokenIssued | TokenPage | TokenRecord


def main() -> int:
    """Execute the request; return 0, or 1 if the answer is a problem."""
    keep_private()
    try:
        answer = _do(Settings.from_env(), json.load(sys.stdin))
    except NormlabError as e:
        print(json.dumps(_problem(e)))
        return 1
    print(answer.model_dump_json())
    return 0


def _do(settings: Settings, asked: dict[str, Any]) -> _Answer:
    by = Actor(getpass.getuser())
    verb = _VERBS[asked.pop("do")]
    with Database(_database_url(settings), pool_size=1) as database:
        return verb(settings, database, asked, by)


def _create(
    settings: Settings, database: Database, asked: Mapping[str, Any], by: Actor
) -> TokenIssued:
    return token_changes.issue(database, TokenRequest.read(asked), by)


def _list(settings: Settings, database: Database, asked: Mapping[str, Any], by: Actor) -> TokenPage:
    return token_changes.list_tokens(database, **asked)


def _revoke(
    settings: Settings, database: Database, asked: Mapping[str, Any], by: Actor
) -> TokenRecord:
    if _is_own(settings.data_dir, database, asked["token"]):
        raise Conflict(
            f"token {asked['token']} is the one that the commands of this host use for their stack "
            f"({settings.data_dir / OWN_TOKEN}); replace it by another: normlab token "
            f"rotate {asked['token']} --grace 0s"
        )
    return token_changes.revoke(database, asked["token"], by)


def _rotate(
    settings: Settings, database: Database, asked: Mapping[str, Any], by: Actor
) -> TokenIssued:
    own = _is_own(settings.data_dir, database, asked["token"])
    how = Rotation.read({"grace_s": asked["grace_s"]})
    issued = token_changes.rotate(database, asked["token"], how, by)
    if own:
        write_own_token(settings.data_dir, issued.secret)
        left = read_connection(settings.data_dir)
        if left is not None:
            replace(left, token=issued.secret).write(settings.data_dir)
    return issued


_VERBS: dict[str, Callable[..., _Answer]] = {
    "create": _create,
    "list": _list,
    "revoke": _revoke,
    "rotate": _rotate,
}


def _is_own(data_dir: Path, database: Database, token: str) -> bool:
    try:
        found = tokens.find(database, (data_dir / OWN_TOKEN).read_text().strip())
    except FileNotFoundError:
        return False
    return found is not None and str(found.id) == token


def _database_url(settings: Settings) -> str:
    servers = read_servers(settings.data_dir)
    url = settings.database_url or (servers.database_url if servers else None)
    if url is None:
        raise ServiceUnavailable(
            f"no stack of this user runs in {settings.data_dir}; start it (normlab up), set "
            "NORMLAB_DATABASE_URL, or give --url and an admin's --token"
        )
    return url


def _problem(error: NormlabError) -> dict[str, Any]:
    fields = error.problems if isinstance(error, InvalidSpec) else ()
    told = [{"field": f.field, "rule": f.rule} for f in fields]
    return {"code": error.code, "detail": str(error), "errors": told}


if __name__ == "__main__":
    sys.exit(main())
