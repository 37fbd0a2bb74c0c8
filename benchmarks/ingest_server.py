"""
Points over HTTP, so that both sides of the comparison have this cost.

Our own path does not use HTTP: a job process writes the same bytes into a pipe, and its
supervisor processes them as `take` does here. It parses and checks the record, makes sure that the
lease is valid, appends, and commits. There is no public route for this, because only a worker with
a lease may write the metrics of a job. A route for trainings of other processes would need
separate leases, and is a feature, not a benchmark.
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from normlab.events import from_line
from service.jobs import leases
from service.jobs.leases import Lease
from service.results import reports
from service.store.database import Database


def application(database: Database, lease: Lease) -> Starlette:
    """Return an application that takes the records of *lease*'s job."""

    async def take(request: Request) -> JSONResponse:
        line = await request.body()
        kept = await run_in_threadpool(reports.keep_all, database, lease, [from_line(line)])
        return JSONResponse({"kept": kept}, status_code=200 if kept else 409)

    return Starlette(routes=[Route("/events", take, methods=["POST"])])


def main(database_url: str, port: str) -> None:
    """Lease the only job of the device ipu, and serve."""
    database = Database(database_url)
    lease = leases.claim(database, "ipu", "benchmark", lease_s=3600)
    if lease is None:
        raise SystemExit("no job to write to")
    app: Any = application(database, lease)
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_config=None, access_log=False)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
