"""Liveness, readiness, and metrics for Prometheus."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field

from api.auth import ReaderDep
from api.state import State, StateDep
from normlab.errors import ServiceUnavailable
from normlab.host.limits import free_disk_bytes
from service.jobs import workers
from service.store.database import revisions

router = APIRouter(tags=["health"])
LEAST_FREE_BYTES = 256 << 20


class Liveness(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Readiness(BaseModel):
    """The dependencies of the process, and their status."""

    status: Literal["ready", "not ready"]
    database: str = Field(description="the database: ok, or what is wrong")
    migrations: str = Field(
        description="the schema: ok, or which revision the database has and which one is needed"
    )
    writes: str = Field(
        description="writes: ok, or why the database accepts none, such as a full disk"
    )
    events: str = Field(
        description="the wake-ups of streams: ok, or that streams poll the database instead"
    )
    broker: str = Field(description="the broker: ok, or what is wrong; then jobs only start later")
    disk: str = Field(
        description="the disk: ok, or that little space is left where the API keeps its data"
    )
    workers: str = Field(
        description="the workers: ok, or that none is live; jobs wait until one is"
    )


@router.get("/livez")
async def read_liveness() -> Liveness:
    """Report that the process answers."""
    return Liveness()


@router.get("/readyz", responses={503: {"model": Readiness}})
def read_readiness(state: StateDep, response: Response) -> Readiness:
    """
    Report whether requests can be served: the database answers, accepts writes, and has our schema.

    Problems that only delay jobs are reported too, but the status stays 200.
    """
    database, migrations = _store(state)
    writes = (state.write_probe.trouble() or "ok") if database == "ok" else "unknown"
    ready = database == migrations == writes == "ok"
    response.status_code = 200 if ready else 503
    return Readiness(
        status="ready" if ready else "not ready",
        database=database,
        migrations=migrations,
        writes=writes,
        disk=_disk(state),
        workers=_workers(state) if ready else "unknown",
        events="ok"
        if state.wakeups.connected
        else "not connected; streams poll the database instead",
        broker=state.doorbell.trouble() or "ok",
    )


@router.get("/metrics", response_class=Response)
def read_metrics(state: StateDep, reader: ReaderDep) -> Response:
    """Return the measures in Prometheus' text format."""
    return Response(generate_latest(state.measures.registry), media_type=CONTENT_TYPE_LATEST)


def _store(state: State) -> tuple[str, str]:
    try:
        current, needed = revisions(state.database)
    except ServiceUnavailable as e:
        return str(e), "unknown"
    if current != needed:
        found = f"at {current}, needs {needed}; run `python -m service.migrate`"
        return "ok", found
    return "ok", "ok"


def _disk(state: State) -> str:
    folder = state.settings.data_dir.absolute()
    free = free_disk_bytes(folder)
    return "ok" if free >= LEAST_FREE_BYTES else f"{free / 2**20:.0f} MiB free at {folder}"


def _workers(state: State) -> str:
    return "ok" if workers.live(state.database) else "no worker is live, so jobs wait"
