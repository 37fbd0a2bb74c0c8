from __future__ import annotations

import threading
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from normlab.errors import InvalidSpec, ServiceUnavailable
from service.store.database import Database, cursor_of, migrate, revisions
from service.store.schema import metadata


def test_migrations_make_exactly_the_tables_of_the_schema(database: Database) -> None:
    with database.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_migrated_database_has_the_revision_that_the_code_needs(database: Database) -> None:
    current, needed = revisions(database)
    assert current == needed
    with database.begin() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == current


def test_an_empty_database_has_no_revision(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(text("drop table alembic_version"))
    assert revisions(database)[0] is None


def test_several_processes_may_migrate_at_once(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("drop schema public cascade")
        connection.execute("create schema public")
    threads = [threading.Thread(target=migrate, args=(database_url,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Database(database_url) as database:
        assert len(set(revisions(database))) == 1


def test_an_error_rolls_the_whole_transaction_back(database: Database) -> None:
    def write_and_fail() -> None:
        with database.begin() as connection:
            connection.execute(text("insert into turn (device, owner) values ('cpu', 'ada')"))
            raise KeyError

    with pytest.raises(KeyError):
        write_and_fail()
    with database.begin() as connection:
        assert connection.execute(text("select count(*) from turn")).scalar() == 0


def test_an_unreachable_database_is_reported_as_unavailable(tmp_path: Path) -> None:
    away = Database(f"postgresql://nobody@/nothing?host={tmp_path}")
    with pytest.raises(ServiceUnavailable, match="database does not answer"), away.begin():
        pass


def test_a_text_with_a_nul_character_is_refused_as_input(database: Database) -> None:
    with pytest.raises(InvalidSpec, match="cannot be stored"), database.begin() as connection:
        connection.execute(text("select cast(:x as text)"), {"x": "a\0b"})


def test_a_reader_sees_what_is_committed_and_keeps_no_transaction_open(database: Database) -> None:
    with database.autocommit() as reader:
        assert reader.execute(text("select count(*) from turn")).scalar() == 0
        with database.begin() as writer:
            writer.execute(text("insert into turn (device, owner) values ('cpu', 'ada')"))
        assert reader.execute(text("select count(*) from turn")).scalar() == 1
        idle = "select count(*) from pg_stat_activity where state = 'idle in transaction'"
        assert reader.execute(text(f"{idle} and datname = current_database()")).scalar() == 0


def test_a_transaction_after_a_read_is_a_real_transaction(database: Database) -> None:
    with database.autocommit() as reader:
        reader.execute(text("select 1"))
    with database.begin() as connection:
        connection.execute(text("insert into turn (device, owner) values ('cpu', 'ada')"))
        connection.rollback()
    with database.autocommit() as reader:
        assert reader.execute(text("select count(*) from turn")).scalar() == 0


def test_errors_of_the_driver_are_translated_too(database: Database) -> None:
    with pytest.raises(InvalidSpec, match="cannot be stored"), database.autocommit() as reader:
        cursor_of(reader).execute("select cast(%s as text)", ("a\0b",))
    with pytest.raises(ServiceUnavailable), database.autocommit() as reader:
        cursor_of(reader).execute("select pg_terminate_backend(pg_backend_pid())")


def test_connections_that_the_server_closed_are_replaced(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(text("select 1"))
    with psycopg.connect(database.conninfo, autocommit=True) as other:
        other.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
    with database.begin() as connection:
        assert connection.execute(text("select 1")).scalar() == 1
