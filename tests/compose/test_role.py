"""The role that compose's database makes for the service: enough for the service, and no more."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import psycopg
import pytest

from service.jobs import reaper
from service.servers.postgres import postgres_program
from service.store.database import Database, migrate
from tests.service.work import claim, reap, submit

SCRIPT = Path(__file__).parents[2] / "docker" / "postgres-role.sh"


@pytest.fixture
def role_url(servers: dict[str, str]) -> Iterator[str]:
    """A database made by the script, which is started twice after an interruption, as a URL."""
    role = f"role_{uuid4().hex}"
    parts = urlsplit(servers["database_url"])
    host = parse_qs(parts.query)["host"][0]
    psql = postgres_program("psql")
    assert psql is not None
    told = {
        **os.environ,
        "PATH": f"{psql.parent}{os.pathsep}{os.environ['PATH']}",
        "PGHOST": host,
        "POSTGRES_USER": str(parts.username),
        "POSTGRES_PASSWORD": "secret",
        "SERVICE_ROLE": role,
    }
    with psycopg.connect(servers["database_url"], autocommit=True) as connection:
        # a start that stopped here
        connection.execute(f"create role {role} login password 'secret'")
    for _ in range(2):
        subprocess.run(["sh", str(SCRIPT)], env=told, check=True)
    yield f"postgresql://{role}@/{role}?host={host}"
    with psycopg.connect(servers["database_url"], autocommit=True) as connection:
        connection.execute(f"drop database {role} with (force)")
        connection.execute(f"drop role {role}")


def test_the_service_works_as_a_role_that_is_no_superuser(role_url: str) -> None:
    migrate(role_url)
    with Database(role_url) as database:
        submit(database)
        claim(database)
        with psycopg.connect(role_url, autocommit=True) as connection:
            connection.execute("update job set lease_until = clock_timestamp()")
            rights = connection.execute(
                "select rolsuper or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls"
                " from pg_roles where rolname = current_user"
            ).fetchone()
        assert rights == (False,)
        assert reap(database) == 1
        assert claim(database).attempt == 2
        assert reaper.expired(database) == []


def test_the_role_is_made_with_the_password_of_the_services_url(role_url: str) -> None:
    role = urlsplit(role_url).username
    maintenance = role_url.replace(f"//{role}@/{role}?", "//postgres@/postgres?")
    with psycopg.connect(maintenance) as connection:
        found = connection.execute(
            "select rolpassword like 'SCRAM-SHA-256%%' from pg_authid where rolname = %s", (role,)
        ).fetchone()
        superusers = connection.execute(
            "select rolpassword from pg_authid where rolname = 'postgres'"
        ).fetchone()
    assert (found, superusers) == ((True,), (None,))
