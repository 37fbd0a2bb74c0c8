"""The pages of studies: the list, one study with its results, and the form for a new one."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from api import presets
from api.auth import ReaderDep
from api.costly import costly, load_for_tables
from api.decision_charts import chart
from api.forms import job_form, paths
from api.rendering import render
from api.state import StateDep
from normlab.specs.cells import label
from normlab.specs.studies import headline_of
from normlab.specs.written import as_yaml
from service.store import events
from service.studies import decisions, details
from service.studies.listing import list_studies

router = APIRouter()

_SECTION = "/studies"
_PAGE_SIZE = 50


@router.get("/studies")
@costly
def show_studies(
    request: Request,
    reader: ReaderDep,
    state: StateDep,
    cursor: str | None = None,
    project: str | None = None,
    archived: bool = False,
) -> Response:
    """Show the list of studies, or of archived ones."""
    page = list_studies(state.reads, cursor, _PAGE_SIZE, project=project or None, archived=archived)
    return render(
        request,
        "studies.html",
        reader,
        page=page,
        cursor=cursor,
        project=project,
        archived=archived,
        projects=reader.projects(project),
        section=_SECTION,
    )


@router.get("/studies/new")
def show_new_study(request: Request, reader: ReaderDep, state: StateDep) -> Response:
    """
    Show the study form, filled in from the study that *from* names, a *claim* or a *recipe*.

    It needs no turn, because it reads at most one row; the form and the claims take its time.
    """
    asked = request.query_params
    origin, claim, recipe = (asked.get(name) for name in ("from", "claim", "recipe"))
    found = details.get(state.database, origin, 0) if origin else None
    start = found.spec.model_dump(mode="json", exclude_defaults=True) if found else None
    if start is None:
        start = presets.study_of(claim=claim, recipe_name=recipe)
    return render(
        request,
        "new_study.html",
        reader,
        groups=job_form(),
        paths=paths(),
        spec=start,
        origin=found.name if found else None,
        claims=presets.claims(),
        recipes=list(presets.recipes()),
        preset=f"claim={claim}" if claim else f"recipe={recipe}" if recipe else "",
        project=found.project if found else None,
        targets=reader.targets,
        may_upload=state.settings.lets_upload(reader.owner),
        section=_SECTION,
    )


@router.get("/studies/{study}", dependencies=[Depends(load_for_tables)])
@costly
def show_study(study: str, request: Request, reader: ReaderDep, state: StateDep) -> Response:
    """Show one study."""
    after = events.latest(state.reads)  # first, so that nothing is missed while the page is made
    detail = details.get(state.reads, study, 0)
    decision = decisions.decision(state.reads, study) if detail.spec.decide else None
    charts = [(row, chart(decision, row)) for row in decision.rows] if decision else []
    return render(
        request,
        "study.html",
        reader,
        study=detail,
        may_label=reader.may_change(detail.owner, detail.project),
        metric=headline_of(detail.spec.base),
        after=after,
        decision=decision,
        charts=charts,
        label=label,
        written=as_yaml(detail.spec.model_dump(mode="json", exclude_defaults=True)),
        section=_SECTION,
    )
