"""`normlab token` on the host, in the database of its stack, and over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List

import pytest

from api.main import create_app
from normlab.cli.application import run
from normlab.client import Client
from normlab.errors import Conflict
from normlab.stacks.connection import Connection, read_connection
from service.jobs.doorbell import SilentDoorbell
from service.servers.launcher import _prepare
from service.settings import Settings
from service.store import audit, tokens
from service.store.database import Database
from tests.api.serving import serve
from tests.tokens import revoke_token

OPERATORS = "an-operators-token-for-tests"


@pytest.fixture(autouse=True)
def _on_this_host(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORMLAB_DATABASE_URL", database_url)
    monkeypatch.setenv("NORMLAB_DATA_DIR", str(tmp_path))
    for name in ("NORMLAB_URL", "NORMLAB_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert run(["token", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run(["token", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_token_is_created_rotated_and_revoked_on_the_host(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["token", "create", "ada", "--scope", "submit", "--expires", "2h"]) == 0
    said = capsys.readouterr()
    secret = said.out.strip()
    found = tokens.find(database, secret)
    assert found is not None
    assert (found.owner, found.scopes, found.left_s and round(found.left_s / 60)) == (
        "ada", ("submit",), 120
    )  # fmt: skip
    assert "shown this once" in said.err
    new = asked(capsys, "rotate", str(found.id)[-8:], "--grace", "10m")
    listed: List[Dict[str, Any]] = asked(capsys, "list")
    assert [one["id"] for one in listed] == [new["id"], str(found.id)]
    assert new["secret"] not in json.dumps(listed)
    assert asked(capsys, "revoke", new["id"])["state"] == "revoked"
    done = [record.action for record in audit.read(database).records]
    assert done == ["token.revoke", "token.rotate", "token.create"]


def test_bad_input_is_one_line_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert "expires_at: 2020-01-01" in refused(capsys, "create", "ada", "--expires", "2020-01-01")
    assert "scopes.0" in refused(capsys, "create", "ada", "--scope", "root")
    assert "U+0007 cannot be shown" in refused(capsys, "create", "a\x07b")
    assert "'soon' is not a span of time" in refused(capsys, "create", "ada", "--expires", "soon")
    unknown = "0197b2a4-0000-7000-8000-000000000000"
    assert f"there is no token '{unknown}'" in refused(capsys, "revoke", unknown)


def test_without_a_stack_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NORMLAB_DATABASE_URL")
    assert run(["token", "list"]) == 3
    assert "normlab up" in capsys.readouterr().err


def test_the_last_admin_token_is_not_revoked_by_accident(
    capsys: pytest.CaptureFixture[str],
) -> None:
    admin = asked(capsys, "create", "root", "--scope", "admin")
    assert "--scope admin" in refused(capsys, "revoke", admin["id"])
    asked(capsys, "create", "root", "--scope", "admin")
    assert asked(capsys, "revoke", admin["id"])["state"] == "revoked"


def test_the_token_of_the_stack_is_rotated_with_its_files_and_the_old_one_stays_invalid(
    database: Database, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(data_dir=tmp_path)
    old = _prepare(database_url, settings)
    Connection("http://127.0.0.1:1", old).write(tmp_path)
    found = tokens.find(database, old)
    assert found is not None
    assert "rotate" in refused(capsys, "revoke", str(found.id))
    new = asked(capsys, "rotate", str(found.id), "--grace", "0s")["secret"]
    left = read_connection(tmp_path)
    assert left is not None
    assert left.token == new
    assert _prepare(database_url, settings) == new
    revoke_token(database, new)
    assert _prepare(database_url, settings) not in (old, new)
    for secret in (old, new):
        ended = tokens.find(database, secret)
        assert ended is not None
        assert ended.ended


def test_admins_do_the_same_over_http(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(
        database_url=database_url,
        data_dir=tmp_path,
        token=OPERATORS,
        inspector_socket=tmp_path / "nobody",
    )
    with serve(create_app(settings, SilentDoorbell())) as url:
        here = ["--url", url, "--token", OPERATORS, "token"]
        assert run([*here, "create", "ada", "--note", "far away", "--json"]) == 0
        made = json.loads(capsys.readouterr().out)
        assert run([*here, "list"]) == 0
        assert "far away" in capsys.readouterr().out
        with Client(url, OPERATORS) as client:
            client.tokens.revoke(made["id"])
            with pytest.raises(Conflict):
                client.tokens.rotate(made["id"])
            assert [r.action for r in client.audit(limit=2)] == ["token.revoke", "token.create"]
            assert [r.owner for r in client.audit(owner="admin")] == ["admin", "admin"]
