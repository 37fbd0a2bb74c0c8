"""A database role for workers, for one test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
from psycopg import sql
from sqlalchemy import make_url


@contextmanager
def role_of_workers(database_url: str) -> Iterator[tuple[str, str]]:
    """Make a role without rights; give its name, and the URL of the same database with it."""
    name = f"workers_{uuid4().hex[:12]}"
    named = sql.Identifier(name)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login").format(named))
        try:
            url = make_url(database_url).set(username=name)
            yield name, url.render_as_string(hide_password=False)
        finally:
            connection.execute(sql.SQL("drop owned by {}").format(named))
            connection.execute(sql.SQL("drop role {}").format(named))
