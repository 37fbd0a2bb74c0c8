"""Many readers of server-sent events on one API: how long an event takes to reach all of them."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import psutil

from benchmarks.command import at_least_one, parser_of, show
from normlab.specs.jobs import JobSpec
from service.jobs import submissions
from service.servers.launcher import Stack, launch
from service.servers.servers_file import read_servers
from service.settings import Settings
from service.store import events, tokens
from service.store.database import Database

NAME = "event-streams"
_OF_ONE_OWNER = 100  # the API allows at most 200 per owner
_KIND = "benchmark"
_LONGEST_S = 60.0
_NUMBERS = count()


def main() -> int:
    """Measure 10 readers and many, and print the costs per event and per reader."""
    parser = parser_of(__doc__, rounds=20)
    parser.add_argument("--readers", type=at_least_one, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="normlab-streams-") as folder:
        settings = Settings(data_dir=Path(folder), port=0, database_url=None, broker_url=None)
        with launch(settings, worker=False) as stack:
            servers = read_servers(Path(folder))
            assert servers is not None
            with Database(servers.database_url) as database:
                rows = asyncio.run(_measured(stack, database, options))
    show(NAME, rows, f"one API process, {options.rounds} events in sequence, each to all readers")
    return 0


async def _measured(
    stack: Stack, database: Database, options: argparse.Namespace
) -> list[dict[str, Any]]:
    api = psutil.Process(stack.children[0].process.pid)
    job = UUID(_a_job(database))
    rows = []
    for path in ("/v1/events", f"/v1/jobs/{job}/events"):
        for many in (10, options.readers):
            await asyncio.sleep(3)  # the API cleans up after the previous readers
            before = api.memory_info().rss
            async with _reading(stack.url, path, _tokens(database, many)) as readers:
                what = {"readers": many, "of": "one job" if str(job) in path else "all jobs"}
                rows.append({**what, **await _events(database, job, readers, options.rounds, api)})
                rows[-1]["KB per reader"] = round((api.memory_info().rss - before) / many / 1000, 1)
                print(rows[-1], flush=True)
    return rows


def _a_job(database: Database) -> str:
    spec = JobSpec.model_validate({"normalizer": "batch"})
    how = {"owner": "owner", "device": "cuda", "device_reason": "a benchmark"}
    return submissions.submit(database, spec, **how)[0].id


def _tokens(database: Database, count: int) -> list[str]:
    """Return a token for each of *count* readers; the readers of one owner share one."""
    owners = [tokens.new_secret() for _ in range(-(-count // _OF_ONE_OWNER))]
    for i, secret in enumerate(owners):
        tokens.accept(database, secret, f"reader-{i}", ["read"])
    return [owners[i // _OF_ONE_OWNER] for i in range(count)]


@asynccontextmanager
async def _reading(
    url: str, path: str, secrets: Sequence[str]
) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Open a stream for each of *secrets*."""
    host = urlsplit(url)
    opened = []
    try:
        for secret in secrets:
            reader, writer = await asyncio.open_connection(host.hostname, host.port)
            opened.append((reader, writer))
            head = f"GET {path} HTTP/1.1\r\nHost: {host.netloc}\r\nAuthorization: Bearer {secret}"
            writer.write(f"{head}\r\nAccept: text/event-stream\r\n\r\n".encode())
            status = (await reader.readline()).decode()
            if " 200 " not in status:
                raise SystemExit(f"{path} answers {status.strip()}")
        yield [reader for reader, _ in opened]
    finally:
        for _, writer in opened:
            writer.close()


async def _events(
    database: Database,
    job: UUID,
    readers: Sequence[asyncio.StreamReader],
    rounds: int,
    api: psutil.Process,
) -> dict[str, Any]:
    """Write events one after another; return the latencies of all readers."""
    await _reach_all(database, job, readers)  # now all readers have read everything
    began = _cpu_s(api)
    waits = [wait for _ in range(rounds) for wait in await _reach_all(database, job, readers)]
    cpu_ms = 1000 * (_cpu_s(api) - began) / rounds
    waits.sort()
    return {
        "median ms": round(1000 * statistics.median(waits), 1),
        "95th ms": round(1000 * waits[int(0.95 * len(waits))], 1),
        "last ms": round(1000 * waits[-1], 1),
        "cpu ms per event": round(cpu_ms, 1),
    }


async def _reach_all(
    database: Database, job: UUID, readers: Sequence[asyncio.StreamReader]
) -> list[float]:
    """Write one event; return the seconds until each reader receives it."""
    number = next(_NUMBERS)
    waiting = [asyncio.create_task(_arrival(reader, number)) for reader in readers]
    await asyncio.sleep(0)
    began = time.perf_counter()
    await asyncio.to_thread(_write, database, job, number)
    arrivals = await asyncio.wait_for(asyncio.gather(*waiting), _LONGEST_S)
    return [arrived - began for arrived in arrivals]


def _write(database: Database, job: UUID, number: int) -> None:
    with database.begin() as connection:
        events.record(connection, job, _KIND, {"number": number})


async def _arrival(reader: asyncio.StreamReader, number: int) -> float:
    while line := await reader.readline():
        if line.startswith(b"data:") and f'"{_KIND}"'.encode() in line:
            found = json.loads(line[len(b"data:") :])
            if found["payload"]["number"] == number:
                return time.perf_counter()
    raise SystemExit("the API has ended a stream")


def _cpu_s(process: psutil.Process) -> float:
    took = process.cpu_times()
    return float(took.user + took.system)


if __name__ == "__main__":
    raise SystemExit(main())
