"""The web pages: rendered here, and updated by small scripts over the same HTTP interface."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from api import catalogue, presets
from api.auth import ReaderDep
from api.costly import costly
from api.forms import job_form
from api.rendering import render
from api.state import StateDep
from normlab.errors import InvalidSpec
from normlab.presentation.beginnings import beginnings
from normlab.records import ENDED, JobPage
from normlab.specs.normalizers import BY_KIND
from normlab.specs.written import as_yaml, in_short
from service.jobs import listing, reading, workers
from service.jobs.job_filters import JobFilters
from service.store import events
from service.studies.listing import names_of

router = APIRouter()

_PAGE_SIZE = 50
_SORTS = (
    ("-created_at", "newest first"),
    ("created_at", "oldest first"),
    ("-val/accuracy", "best validation accuracy"),
    ("-val/map", "best average precision"),
    ("val/loss", "lowest validation loss"),
    ("train/loss", "lowest training loss"),
    ("name", "name"),
    ("normalizer", "normalizer"),
    ("batch_size", "batch size"),
    ("state", "state"),
)


class ListQuery:
    """The filters of the job list, as its form sends them; an empty field means any."""

    def __init__(self, request: Request) -> None:
        self.given = {k: v for k, v in request.query_params.items() if v}
        self.sort = self.given.get("sort", "-created_at")
        self.cursor = self.given.get("cursor")

    def __getattr__(self, name: str) -> str | None:
        return self.given.get(name)

    @property
    def filters(self) -> JobFilters:
        """The same filters for the service."""
        several = {k: (v,) for k, v in self.given.items() if k in ("state", "device", "normalizer")}
        single = {k: self.given.get(k) for k in ("study", "owner", "project", "name")}
        where, trash = self.given.get("filter"), "trash" in self.given
        archived = "archived" in self.given
        return JobFilters(**several, **single, where=where, trash=trash, archived=archived)  # type: ignore[arg-type]

    def link(self, cursor: str | None) -> str:
        """Return the URL of this list at *cursor*."""
        kept = {k: v for k, v in self.given.items() if k != "cursor"}
        return "/jobs?" + urlencode({**kept, **({"cursor": cursor} if cursor else {})})


QueryDep = Annotated[ListQuery, Depends(ListQuery)]


@router.get("/")
async def show_start() -> Response:
    """Redirect to the jobs."""
    return RedirectResponse("/jobs")


@router.get("/jobs")
@costly
def show_jobs(request: Request, reader: ReaderDep, state: StateDep, query: QueryDep) -> Response:
    """Show the list of jobs."""
    problem = None
    after = events.latest(state.reads)  # first, so that nothing is missed while the page is made
    try:
        page = _page(state, query)
    except InvalidSpec as e:
        page, problem = JobPage(jobs=[], next_cursor=None), str(e)
    status = 422 if problem else 200
    kinds = list(BY_KIND)
    values = {"kinds": kinds, "sorts": _SORTS, "problem": problem, "after": after}
    values |= {"section": "/jobs", "projects": reader.projects(query.project)}
    values |= _rows(state, query, page)
    return render(request, "jobs.html", reader, status, **values)


@router.get("/jobs/rows")
@costly
def show_job_rows(
    request: Request, reader: ReaderDep, state: StateDep, query: QueryDep
) -> Response:
    """Show only the rows, for the script that keeps them up to date."""
    return render(request, "job_rows.html", reader, **_rows(state, query, _page(state, query)))


@router.get("/jobs/new")
def show_new_job(request: Request, reader: ReaderDep, state: StateDep) -> Response:
    """Show the job form, filled in from the job that *from* names, or from a *recipe*."""
    origin, preset = request.query_params.get("from"), request.query_params.get("recipe")
    found = reading.get(state.database, origin) if origin else None
    start = presets.recipe(preset) if preset and not found else None
    return render(
        request,
        "new_job.html",
        reader,
        groups=job_form(),
        spec=found.spec.model_dump(mode="json") if found else start,
        origin=(found.name or found.id[-12:]) if found else preset,
        recipes=list(presets.recipes()),
        preset=preset,
        project=found.project if found else None,
        targets=reader.targets,
        may_upload=state.settings.lets_upload(reader.owner),
        section="/jobs",
    )


@router.get("/jobs/{job}")
@costly
def show_job(job: str, request: Request, reader: ReaderDep, state: StateDep) -> Response:
    """Show one job."""
    detail = reading.get(state.reads, job)
    others = listing.list_jobs(state.reads, limit=200).jobs
    comparable = [other for other in others if other.id != detail.id]
    values: dict[str, Any] = {"others": comparable, "section": "/jobs"}
    values["beginnings"] = beginnings(detail)
    values["studies"] = names_of(state.reads, [detail.study] if detail.study else [])
    values["written"] = as_yaml(in_short(detail.spec))
    values["may_label"] = reader.may_change(detail.owner, detail.project)
    return render(request, "job.html", reader, job=detail, **values)


@router.get("/normalizers")
def show_normalizers(request: Request, reader: ReaderDep, state: StateDep) -> Response:
    """Show the kinds of normalizer, their options, and plugins that cannot be used."""
    return render(
        request,
        "normalizers.html",
        reader,
        kinds=catalogue.normalizers(),
        troubles=state.plugins.troubles,
        section="/normalizers",
    )


def _page(state: StateDep, query: ListQuery) -> JobPage:
    return listing.list_jobs(state.reads, query.filters, query.sort, query.cursor, _PAGE_SIZE)


def _rows(state: StateDep, query: ListQuery, page: JobPage) -> dict[str, Any]:
    following = page.next_cursor
    return {
        "page": page,
        "studies": names_of(state.reads, {job.study for job in page.jobs if job.study}),
        "query": query,
        "filtered": bool(set(query.given) - {"sort"}),
        "only_kept": set(query.given) - {"sort"} in ({"trash"}, {"archived"}),
        "moving": any(job.state not in ENDED for job in page.jobs),
        "first_page": query.link(None),
        "next_page": query.link(following) if following else None,
    }


@router.get("/devices")
def show_devices(request: Request, reader: ReaderDep, state: StateDep) -> Response:
    """Show the kinds of device and their workers."""
    found = workers.devices(state.database)
    return render(request, "devices.html", reader, devices=found, section="/devices")


@router.get("/runs")
@costly
def show_runs(request: Request, reader: ReaderDep, state: StateDep) -> Response:
    """Show the table of runs; the address contains the columns, or names a saved view."""
    after = events.latest(state.reads)  # so that the page also follows what happens while it loads
    return render(request, "runs.html", reader, after=after, section="/runs")


@router.get("/compare")
async def show_comparison(request: Request, reader: ReaderDep) -> Response:
    """Show a comparison of the runs that the address names."""
    return render(request, "compare.html", reader, section="/runs")
