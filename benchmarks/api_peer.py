"""
The API compared with an MLflow tracking server, in one run on one machine.

Both listen on 127.0.0.1 with one process and answer JSON on one open connection, in interleaved
rounds. MLflow has SQLite in its own process, which saves a round trip and a sync per commit; we
use the embedded PostgreSQL with its durable defaults, and its processor time counts as ours.

The calls that are compared:
  ingest     runs/log-batch, 1000 points of a key | one record of 1000 points, parsed, fenced,
             appended and committed as a worker's supervisor does, behind an HTTP route of this
             benchmark (see ingest_server.py); `without HTTP` is the same without the route
  read       metrics/get-history, 100k points     | GET /v1/jobs/{id}/metrics
  chart      metrics/get-history-bulk-interval    | the same with max_points (buckets with mean,
             (samples points)                     |   minimum and maximum)
  submit     runs/create                          | POST /v1/jobs: checked, idempotent, queued
  list       runs/search with filter and order    | GET /v1/jobs?filter=...&sort=-val/accuracy
"""

from __future__ import annotations

import math
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import psutil

from benchmarks import own_api, peer_mlflow
from benchmarks.command import parser_of, show
from benchmarks.http_calls import CallCost, timed
from benchmarks.own_api import OwnApi, record
from normlab.events import from_line
from normlab.specs.jobs import JobSpec
from service.jobs import leases, submissions
from service.results import reports

POINTS, BATCH = 100_000, 1000
RUNS, PAGE, CHART = 260, 100, 320
MEMORY_MB = 120
ENDS_WITHIN_S = 600


class Side(Protocol):
    """The calls that both sides answer."""

    name: str
    roots: list[psutil.Process]

    def memory_bytes(self) -> int:
        """Return the memory of the processes that serve requests."""
        ...

    def submit(self) -> str:
        """Make a run; return its id."""
        ...

    def add_run(self, normalizer: str, accuracy: float) -> None:
        """Make a run with a metric, for the list."""
        ...

    def ingest(self, steps: range, values: Sequence[float]) -> None:
        """Send points of the long series."""
        ...

    def read(self) -> list[tuple[int, float]]:
        """Read the whole long series."""
        ...

    def chart(self, points: int) -> int:
        """Read the thinned series; return its number of points."""
        ...

    def page(self, limit: int) -> list[float]:
        """List runs by filter, best first; return their metric."""
        ...


def main() -> int:
    """Measure, print the table, and return 1 if a ratio is missed."""
    parser_of(__doc__).parse_args()
    peer_mlflow.install()
    signal.alarm(ENDS_WITHIN_S)
    with tempfile.TemporaryDirectory(prefix="normlab-bench-") as folder:
        own_folder, peer_folder = Path(folder, "own"), Path(folder, "peer")
        own_folder.mkdir()
        peer_folder.mkdir()
        with peer_mlflow.serving(peer_folder) as peer, own_api.serving(own_folder) as own:
            rows = measure(own, peer)
    note = (
        f"{peer.name} on SQLite, job runner off; ms: median call; cpu_ms: of the server and its "
        "database, per call; ratio: the peer's time over ours; memory in MB instead of ms"
    )
    show("api_peer", rows, note)
    return 0 if all(row["met"] == "yes" for row in rows if row["met"]) else 1


def measure(own: OwnApi, peer: Side) -> list[dict[str, Any]]:
    """Call both sides in turn with the same requests, one round of each."""
    idle = memory("idle", own, peer, most=MEMORY_MB)
    rows = [ingest(own, peer), ingest_without_http(own)]
    same_series(own, peer)
    rows.append(row("read 100k points", *turns(own, peer, lambda s: s.read, 3), least=30))
    chart = turns(own, peer, lambda s: lambda: s.chart(CHART), 10)
    rows.append(row("chart of 100k points", *chart, least=20))
    rows.append(row("submit", *turns(own, peer, lambda s: s.submit, 10, each=10), least=2))
    for i in range(RUNS):
        kind = ("batch", "group")[i % 2]
        for side in (own, peer):
            side.add_run(kind, i / RUNS)
    if own.page(PAGE) != peer.page(PAGE):
        raise SystemExit("the two lists differ: they do not do the same work")
    page = turns(own, peer, lambda s: lambda: s.page(PAGE), 6, each=5)
    rows.append(row("list of 100, filter and sort", *page, least=5))
    return [*rows, idle, memory("after all of it", own, peer)]


def ingest(own: OwnApi, peer: Side) -> dict[str, Any]:
    """Send the long series to both, batch by batch."""
    costs = {side.name: CallCost() for side in (own, peer)}
    for i in range(POINTS // BATCH):
        steps = range(i * BATCH + 1, (i + 1) * BATCH + 1)
        values = [1 + math.sin(step / 500) / 3 for step in steps]
        for side in (own, peer) if i % 2 else (peer, own):
            timed(costs[side.name], [partial(side.ingest, steps, values)], side.roots)
    return row("ingest of 1000 points", costs[own.name], costs[peer.name], least=10, points=BATCH)


def ingest_without_http(own: OwnApi) -> dict[str, Any]:
    """Process a record from the pipe as the supervisor does."""
    spec = JobSpec.model_validate({**own_api.QUEUED, "priority": 2})
    submissions.submit(
        own.database, spec, owner="benchmark", device="cuda", device_reason="benchmark"
    )
    lease = leases.claim(own.database, "cuda", "benchmark", lease_s=3600)
    assert lease is not None
    cost = CallCost()
    for i in range(POINTS // BATCH):
        line = record(range(i * BATCH + 1, (i + 1) * BATCH + 1), [0.5] * BATCH)

        def keep(line: bytes = line) -> None:
            began = time.process_time()  # the supervisor's part is done in this process
            assert reports.keep_all(own.database, lease, [from_line(line)])
            cost.cpu_s += time.process_time() - began

        timed(cost, [keep], own.servers)
    return row("ingest of 1000 points, without HTTP", cost, None, least=None, points=BATCH)


def same_series(own: Side, peer: Side) -> None:
    """Stop if the two sides do not have the same series."""
    ours, theirs = own.read(), peer.read()
    if len(ours) != POINTS or ours != theirs:
        raise SystemExit(f"the sides differ: {len(ours)} and {len(theirs)} points")


def turns(
    own: OwnApi, peer: Side, call_of: Callable[[Any], Callable[[], Any]], rounds: int, each: int = 1
) -> tuple[CallCost, CallCost]:
    """Call both sides in turn, *each* times per round; the first round is a warm-up."""
    ours, theirs = CallCost(), CallCost()
    for i in range(rounds + 1):
        sides: list[tuple[Side, CallCost]] = [(own, ours), (peer, theirs)]
        for side, cost in sides if i % 2 else sides[::-1]:
            timed(cost if i else CallCost(), [call_of(side)] * each, side.roots)
    return ours, theirs


def row(
    what: str,
    ours: CallCost,
    theirs: CallCost | None,
    *,
    least: float | None,
    points: int | None = None,
) -> dict[str, Any]:
    """Compare both figures with the target ratio."""
    ratio = theirs.median_s / ours.median_s if theirs else None
    met = None if ratio is None or least is None else ("yes" if ratio >= least else "no")
    if ratio:
        print(f"{what}: {ratio:.3g} times", flush=True)
    return {
        "what": what,
        "normlab_ms": ours.median_s * 1e3,
        "mlflow_ms": theirs and theirs.median_s * 1e3,
        "ratio": ratio,
        "at least": least,
        "met": met,
        "normlab_cpu_ms": ours.cpu_each_s * 1e3,
        "mlflow_cpu_ms": theirs and theirs.cpu_each_s * 1e3,
        "normlab_points_s": points and points / ours.median_s,
        "mlflow_points_s": points and theirs and points / theirs.median_s,
    }


def memory(when: str, own: Side, peer: Side, most: float | None = None) -> dict[str, Any]:
    """Compare the memory of the processes that serve requests."""
    ours, theirs = (side.memory_bytes() / 1e6 for side in (own, peer))
    met = None if most is None else ("yes" if ours <= most else "no")
    return {
        "what": f"memory of the API process, MB, {when}",
        "normlab_ms": ours,
        "mlflow_ms": theirs,
        "ratio": theirs / ours,
        "met": met,
    }


def _too_long(*_: object) -> None:
    raise SystemExit(f"not done within {ENDS_WITHIN_S} seconds: measure on a quieter machine")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that both servers are stopped
    signal.signal(signal.SIGALRM, _too_long)
    raise SystemExit(main())
