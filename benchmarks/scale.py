"""The cost of each operation of the store with 10,000 jobs and with a size of your choice."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from sqlalchemy import Connection, text

from benchmarks.command import at_least_one, parser_of, show
from benchmarks.scale_claims import compete
from benchmarks.scale_store import CURVE, METRIC, POINTS, grow, prepare
from normlab.events import Finished
from normlab.specs.jobs import JobSpec
from service.jobs import gauges, leases, reading, submissions
from service.jobs.doorbell import Relay, SilentDoorbell
from service.jobs.job_filters import JobFilters
from service.jobs.listing import list_jobs
from service.jobs.reaper import Reaper
from service.jobs.workers import devices
from service.results import metrics
from service.results.compaction import Compactor
from service.servers import embedded
from service.settings import Settings
from service.store.database import Database, migrate

NAME, CLAIMS = "scale", "scale-claims"
SMALL = 10_000
TIMES = 2.0  # an operation may take this many times as long as with SMALL jobs
# as many connections as 200 workers need, and no checkpoints while the store is filled
_OPTIONS = ["max_connections=500", "max_wal_size=16GB", "checkpoint_timeout=1h"]
# the processor time of parallel workers would not be counted after they end
_OPTIONS += ["max_parallel_workers_per_gather=0"]
_LEAST_MS = 5.0  # below this, a ratio depends more on the machine than on the store
_WORKERS = (1, 10, 50, 200)
_LONG_S = 20.0  # an operation as slow as this is measured once
Operations = Mapping[str, Callable[[], object]]


def main() -> int:
    """Measure; return 1 if an operation takes more than TIMES as long as with SMALL jobs."""
    options = _options()
    with _store() as (database, url, clock):
        long = prepare(database)
        grow(database, 0, SMALL, options.curves)
        before = _measured(_operations(database, long), clock, options.rounds)
        began = time.perf_counter()
        grow(database, SMALL, options.jobs, options.curves)
        print(f"filled in {time.perf_counter() - began:.0f} s", flush=True)
        after = _measured(_operations(database, long), clock, options.rounds)
        rows = [_row(what, before[what], after[what]) for what in before]
        size = gauges.database_bytes(database) / 1e9
        show(NAME, rows, f"{options.jobs:,} jobs, {_points(options):,} points, {size:.1f} GB")
        claims = min(options.claims, options.jobs // 100 // (len(_WORKERS) + 1))
        races = [compete(url, workers, claims) for workers in _WORKERS]
        show(CLAIMS, races, f"claim and end; {options.jobs:,} jobs, of which 1 in 100 waits")
    return 1 if any(row["slower"] for row in rows) else 0


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__, rounds=5)
    parser.add_argument("--jobs", type=at_least_one, default=1_000_000)
    parser.add_argument(
        "--curves", type=at_least_one, default=1_000_000, help=f"jobs with {POINTS} points each"
    )
    parser.add_argument("--claims", type=at_least_one, default=1000, help="claims per race")
    return parser.parse_args()


def _points(options: argparse.Namespace) -> int:
    return int(min(options.curves, options.jobs)) * POINTS


@contextmanager
def _store() -> Iterator[tuple[Database, str, ServerTime]]:
    with tempfile.TemporaryDirectory(prefix="normlab-scale-") as folder:
        settings = Settings(data_dir=Path(folder), database_url=None, broker_url="memory://")
        servers = embedded.start(settings, postgres_options=_OPTIONS)
        try:
            migrate(servers.database_url)
            with Database(servers.database_url) as database, database.begin() as connection:
                postmaster = psutil.Process(_backend(connection)).ppid()
            with Database(servers.database_url) as database:
                yield database, servers.database_url, ServerTime(postmaster)
        finally:
            servers.stop()


def _backend(connection: Connection) -> int:
    return int(connection.execute(text("select pg_backend_pid()")).scalar_one())


def _operations(database: Database, long: str) -> Operations:
    """Return the operations that users and processes run on a store, by name."""

    def listed(sort: str = "-created_at", **filters: Any) -> Callable[[], object]:
        return lambda: list_jobs(database, JobFilters(**filters), sort)

    short = list_jobs(database, JobFilters(state=("succeeded",))).jobs[-1].id
    return {
        "list the newest 100": listed(),
        "the next page": _next_page(database),
        "list of one state (1 in 100)": listed(state=("failed",)),
        "list of an owner (1 in 50)": listed(owner="owner-7"),
        "filter by two columns": listed(where="normalizer = layer and batch_size < 4"),
        "filter by a metric (1 in 100)": listed(where=f"{METRIC} > 0.99"),
        "filter that finds one job": listed(where="seed = 4321"),
        "a part of a name that one job has": listed(name="job 4321 of"),
        "an owner that has two jobs": listed(owner="pattern"),
        "a rate that no job has": listed(where="optimizer.lr = 0.0137"),
        "one job": lambda: reading.get(database, short),
        "curve of 1,000 points": lambda: metrics.read(database, short, CURVE),
        "100,000 points as 500 bands": lambda: metrics.read(database, long, CURVE, max_points=500),
        "submit": lambda: _submitted(database),
        "claim and end": lambda: _claimed(database),
        "relay: a round": Relay(database, SilentDoorbell(), 5.0).round,
        "reaper: a round": Reaper(database, 0.0).round,
        # with this clock, a round ends after its first 50 jobs
        "compactor: 50 jobs": Compactor(database, clock=partial(next, count(step=10.0))).round,
        "metrics: count by state": lambda: gauges.by_state(database),
        "metrics: by device": lambda: gauges.by_device(database),
        "devices": lambda: devices(database),
    }


def _next_page(database: Database) -> Callable[[], object]:
    cursor = list_jobs(database).next_cursor
    return lambda: list_jobs(database, cursor=cursor)


def _submitted(database: Database) -> None:
    spec = JobSpec.model_validate({"normalizer": "batch"})
    submissions.submit(
        database,
        spec,
        owner="owner-7",
        device="cpu",
        device_reason="a benchmark",
        max_queued=20_000,
    )


def _claimed(database: Database) -> None:
    lease = leases.claim(database, "cpu", "a-worker", 60.0)
    assert lease is not None
    leases.finish(database, lease, Finished(step=1, summary={}))


def _measured(operations: Operations, clock: ServerTime, rounds: int) -> dict[str, Took]:
    """Return the lowest cost of each operation."""
    found = {}
    for what, work in operations.items():
        times: list[Took] = []
        while len(times) <= rounds and sum(took.wall_ms for took in times) < 1000 * _LONG_S:
            times.append(clock.of(work))
        measured = times[1:] or times  # the first one is a warm-up
        found[what] = Took(*map(min, zip(*measured, strict=True)))
        print(f"{what}: {found[what].cpu_ms:.2f} ms, {found[what].wall_ms:.2f} ms", flush=True)
    return found


def _row(what: str, before: Took, after: Took) -> dict[str, Any]:
    ratio = after.cpu_ms / before.cpu_ms
    return {
        "what": what,
        f"cpu ms, {SMALL:,}": round(before.cpu_ms, 2),
        "cpu ms, many": round(after.cpu_ms, 2),
        "ratio": round(ratio, 2),
        "ms, many": round(after.wall_ms, 2),
        "slower": "yes" if ratio > TIMES and after.cpu_ms > _LEAST_MS else "",
    }


class Took(NamedTuple):
    """The time of a piece of work, in ms."""

    cpu_ms: float
    """Processor time here and in all of PostgreSQL's processes, including background ones."""
    wall_ms: float


class ServerTime:
    """
    Times pieces of work that a database does.

    The processor time of this process and of PostgreSQL is hardly changed by other work.

    Args:
        postmaster: PostgreSQL's first process.
    """

    def __init__(self, postmaster: int) -> None:
        self._postmaster = psutil.Process(postmaster)

    def of(self, work: Callable[[], object]) -> Took:
        """Do *work*, and return its time."""
        served_s = self._served_s()
        own_s, began = time.process_time(), time.perf_counter()
        work()
        wall_s, own_s = time.perf_counter() - began, time.process_time() - own_s
        return Took(1000 * (own_s + self._served_s() - served_s), 1000 * wall_s)

    def _served_s(self) -> float:
        return sum(_on_cpu_s(child.pid) for child in self._postmaster.children())


def _on_cpu_s(pid: int) -> float:
    try:  # in nanoseconds; /proc/PID/stat counts in hundredths of seconds
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except FileNotFoundError:  # it ended after it was listed
        return 0.0


if __name__ == "__main__":
    raise SystemExit(main())
