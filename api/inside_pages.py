"""The pages that look inside: a job's network while it learned, and one kind of normalizer."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from api import catalogue
from api.auth import ReaderDep
from api.costly import costly
from api.inside_panels import PANELS
from api.kind_texts import text_of
from api.rendering import render
from api.state import State, StateDep
from normlab.errors import NotFound
from normlab.records import JobDetail, JobRecord
from normlab.specs import device_rules
from normlab.specs.devices import DEVICES
from normlab.specs.diagnostics import DIAGNOSTICS
from normlab.specs.jobs import JobSpec
from service.jobs import listing, reading
from service.jobs.job_filters import JobFilters

router = APIRouter()

_OTHERS = 200


@router.get("/jobs/{job}/inside")
@costly
def show_inside(
    job: str, request: Request, reader: ReaderDep, state: StateDep, beside: str | None = None
) -> Response:
    """Show the diagnostics of a job, next to those of the job *beside*, if there is one."""
    gone = bool(beside) and beside not in listing.in_sight(state.reads, [str(beside)])
    both = [job] if gone or not beside else [job, beside]
    shown = [reading.get(state.reads, one) for one in both]
    missing = [name for name in DIAGNOSTICS.own if name not in shown[0].spec.diagnostics]
    return render(
        request,
        "inside.html",
        reader,
        job=shown[0],
        runs=[{"id": one.id, "label": _label(one), "epochs": one.epochs} for one in shown],
        others=_others(state, shown[0]),
        beside=shown[1].id if len(shown) > 1 else "",
        gone=beside if gone else "",
        panels=PANELS,
        missing=[DIAGNOSTICS[name] for name in missing],
        asked=shown[0].spec.diagnostics,
        section="/jobs",
    )


@router.get("/normalizers/{kind}")
def show_normalizer(kind: str, request: Request, reader: ReaderDep, state: StateDep) -> Response:
    """Show one kind of normalizer: its formula, properties, devices, options, and an example."""
    found = {one.kind: one for one in catalogue.normalizers()}
    if kind not in found:
        raise NotFound(f"there is no normalizer {kind!r}; the page of normalizers lists all")
    kinds = list(found)
    at = kinds.index(kind)
    return render(
        request,
        "normalizer.html",
        reader,
        one=found[kind],
        before=kinds[at - 1] if at else None,
        after=kinds[at + 1] if at + 1 < len(kinds) else None,
        text=text_of(kind),
        devices=_devices(kind),
        section="/normalizers",
    )


def _label(job: JobRecord) -> str:
    return job.name or f"{job.normalizer}{' + proxy' if job.proxy else ''}, batch {job.batch_size}"


def _others(state: State, job: JobDetail) -> list[dict[str, Any]]:
    """List the jobs that can be shown next to *job*: those of its study first, then the newest."""
    filters = [JobFilters(study=job.study)] if job.study else []
    found: dict[str, JobRecord] = {}
    for one in (*filters, JobFilters()):
        page = listing.list_jobs(state.reads, one, limit=_OTHERS)
        found.update((other.id, other) for other in page.jobs)
    found.pop(job.id, None)
    return [{"id": other.id, "label": f"{_label(other)}, seed {other.seed}"} for other in
            found.values()]  # fmt: skip


def _devices(kind: str) -> list[tuple[str, str]]:
    """Return each kind of device, and why it cannot train *kind*; empty if it can."""
    job = JobSpec(normalizer=kind)
    refused = {
        name: "; ".join(p.rule for p in device_rules.problems(job, name)) for name in DEVICES
    }
    return [(DEVICES[name].title, why) for name, why in refused.items()]
