"""The rights of the workers' database role, on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from psycopg.errors import InsufficientPrivilege

import service.store
from normlab.errors import InvalidSpec
from normlab.events import Finished
from service import migrate
from service.jobs import gauges, leases
from service.store import schema, worker_role
from service.store.database import Database, migrate as migrate_tables, newest_revision, revisions
from tests.roles import role_of_workers
from tests.service.work import submit
from tests.tokens import create_token

MIGRATIONS = Path(service.store.__file__).parent / "migrations"


@pytest.fixture
def role(database_url: str) -> Iterator[tuple[str, str]]:
    with role_of_workers(database_url) as made:
        yield made


def test_each_table_is_either_opened_to_workers_or_closed_to_them() -> None:
    opened, closed = set(worker_role.RIGHTS), worker_role.CLOSED
    assert opened & closed == set()
    assert opened | closed == {*schema.metadata.tables, "alembic_version"}
    assert set(worker_role._LIFE) < set(schema.job.c.keys())


FORBIDDEN = [
    *[f"select * from {table}" for table in sorted(worker_role.CLOSED)],
    "insert into token (sha256, id, owner, scopes) values ('', gen_random_uuid(), 'me', '{}')",
    "update job set owner = 'me'",
    "update job set spec = '{}'",
    "delete from job",
    "insert into job (id) values (gen_random_uuid())",
    "update plugin set source = ''",
    "update allowance set most = 100",
    "create table mine (a int)",
]


def test_a_worker_sees_no_token_and_changes_nobodys_job(
    database: Database, role: tuple[str, str]
) -> None:
    name, url = role
    create_token(database, "ada", ["admin"])
    submit(database)
    with database.begin() as connection:
        worker_role.grant(connection, name)
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in FORBIDDEN:
            with pytest.raises(InsufficientPrivilege):
                connection.execute(statement)
        assert connection.execute("select count(*) from job").fetchone() == (1,)


def test_rights_that_were_given_by_hand_are_taken_back(
    database: Database, role: tuple[str, str]
) -> None:
    name, url = role
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        connection.execute(f"grant all on token to {name}")
    with database.begin() as connection:
        worker_role.grant(connection, name)
    with psycopg.connect(url) as connection, pytest.raises(InsufficientPrivilege):
        connection.execute("select * from token")


def test_a_role_that_cannot_be_limited_is_refused(
    database: Database, role: tuple[str, str]
) -> None:
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        own = str(connection.execute("select current_user").fetchone()[0])
        connection.execute(f"alter role {role[0]} superuser")
    for name, why in (("nobody", "there is no database role"), (own, "superuser"),
                      (role[0], "is a superuser")):  # fmt: skip
        with database.begin() as connection, pytest.raises(InvalidSpec, match=why):
            worker_role.grant(connection, name)


def test_migrations_give_the_role_its_rights(
    database: Database,
    database_url: str,
    role: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, url = role
    monkeypatch.setenv("NORMLAB_DATABASE_URL", database_url)
    monkeypatch.setenv("NORMLAB_WORKER_ROLE", name)
    monkeypatch.setattr("sys.argv", ["migrate"])
    assert migrate.main() == 0
    assert f"the role {name} has the rights of workers" in capsys.readouterr().out
    job = submit(database)
    with Database(url) as theirs:
        claim = leases.claim(theirs, "cpu", "a-worker", 30)
    assert claim is not None
    assert str(claim.job) == job.id


def return_to(database: Database, revision: str) -> None:
    """Take back the migrations after *revision*."""
    with database.begin() as connection:
        config = Config()
        config.set_main_option(
            "script_location", str(Path(service.store.__file__).parent / "migrations")
        )
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def test_a_worker_moves_jobs_before_its_role_has_the_rights_of_a_new_schema(
    database: Database, database_url: str, role: tuple[str, str]
) -> None:
    name, url = role
    return_to(database, "0027")
    with database.begin() as connection:
        worker_role.grant(connection, name)
    migrate_tables(database_url)  # as the API does, which knows of no role
    job = submit(database)
    with Database(url) as theirs:
        claim = leases.claim(theirs, "cpu", "a-worker", 30)
        assert claim is not None
        assert leases.finish(theirs, claim, Finished(step=1, summary={}))
    assert gauges.by_state(database) == {("succeeded", job.device): 1}


def test_a_migration_that_cannot_give_a_role_its_rights_changes_nothing(
    database: Database, database_url: str
) -> None:
    return_to(database, "0029")
    with pytest.raises(InvalidSpec, match="no database role"):
        migrate_tables(database_url, "nobody")
    assert revisions(database)[0] == "0029"
    migrate_tables(database_url)
    assert revisions(database)[0] == newest_revision()


def test_triggers_have_the_rights_of_the_tables_owner(database: Database) -> None:
    query = """
        select tgname from pg_trigger join pg_proc on pg_proc.oid = tgfoid
        where not tgisinternal
            and (not prosecdef or not proconfig @> array['search_path=public, pg_temp'])
    """
    with psycopg.connect(database.conninfo) as connection:
        assert connection.execute(query).fetchall() == []
