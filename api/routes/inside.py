"""Inside a network: what its diagnostics measured by layer, its layers, a normalizer at work."""

from __future__ import annotations

import json
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response

from api.auth import CallerDep, ReaderDep
from api.bodies import answer, decode
from api.costly import UNDER_WAY, costly
from api.state import State, StateDep
from normlab.errors import FieldProblem, InvalidSpec, NotFound, refuse
from normlab.records import DiagnosticRecord, InsideRecord, JobDetail, NetworkRecord, SampleRecord
from normlab.specs.normalizers import BY_KIND, check_channels, parse_normalizer
from normlab.specs.sizes import steps_per_epoch, train_size
from service.jobs import reading
from service.results import diagnostics, matrices

router = APIRouter()

_CHANNELS = 8  # of a sample
_RECORDED_BY_CHANNEL = "weight_norms"  # sent as matrices, by layer
MostReadings = Annotated[
    int,
    Query(
        ge=1,
        le=2000,
        description="if there are more readings than this, they are averaged in this number of "
        "buckets",
    ),
]


@router.get("/jobs/{job}/diagnostics", tags=["diagnostics"])
def list_findings(
    job: str,
    reader: ReaderDep,
    state: StateDep,
    name: Annotated[str | None, Query(max_length=200)] = None,
) -> list[DiagnosticRecord]:
    """List the results of the job's diagnostics, by name and step."""
    return diagnostics.read_all(state.database, job, name)


@router.get("/jobs/{job}/inside", tags=["inside"], response_model=InsideRecord)
@costly
def read_inside(
    job: str,
    request: Request,
    reader: ReaderDep,
    state: StateDep,
    most_readings: MostReadings = 120,
) -> Response:
    """Return all that the diagnostics of a job found: each measure with layers and readings."""
    detail = reading.get(state.reads, job)
    findings = diagnostics.read_all(state.reads, job)
    found = [*matrices.read(state.reads, job, most_readings), *matrices.of_norms(findings)]
    kept = [one.model_dump() for one in findings if one.name != _RECORDED_BY_CHANNEL]
    told = {
        "job": detail.id,
        "state": detail.state,
        "step": detail.step,
        "steps_per_epoch": _steps_per_epoch(detail),
        "asked": list(detail.spec.diagnostics),
        "matrices": [vars(one) for one in found],
        "findings": kept,
    }
    return answer(orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY))


@router.get(
    "/jobs/{job}/network", tags=["inside"], response_model=NetworkRecord, responses=UNDER_WAY
)
async def read_network(job: str, caller: CallerDep, state: StateDep) -> Response:
    """
    Return the layers of a job's network, in the order in which a sample passes them.

    The process that inspects networks builds the network for this, without weights. A deep network
    takes a while: the answer is then 202 with `Retry-After`.
    """
    work = partial(_network, state, job)
    return await state.validations.answer_or_go_on(caller.owner, ("network", job), work)


@router.get(
    "/normalizers/{kind}/sample", tags=["inside"], response_model=SampleRecord, responses=UNDER_WAY
)
async def read_sample(
    kind: str,
    caller: CallerDep,
    state: StateDep,
    options: Annotated[
        str, Query(max_length=2000, description="options of the kind, as a JSON object")
    ] = "{}",
    samples: Annotated[int, Query(ge=1, le=32)] = 4,
    side: Annotated[int, Query(ge=1, le=8, description="side of the maps, in pixels")] = 4,
    before: Annotated[
        int, Query(ge=0, le=100, description="number of updates that its state has seen")
    ] = 0,
    shift: Annotated[
        float, Query(ge=-100, le=100, description="number that is added to the input")
    ] = 0.0,
    scale: Annotated[float, Query(ge=-100, le=100, description="factor of the input")] = 1.0,
) -> Response:
    """
    Run a kind of normalizer on random values of 8 channels, forward and backward.

    The values are the same for every kind and option, so that pictures of them can be compared.
    """
    asked = {"samples": samples, "side": side, "before": before, "shift": shift, "scale": scale}
    spec = _checked(kind, options)
    plugin = BY_KIND.plugin_of(kind)
    code = [] if plugin is None else [plugin.digest]
    given = {"normalizer": spec, **asked}
    key = ("sample", json.dumps(given, sort_keys=True))
    work = partial(_sample, state, given, code)
    return await state.validations.answer_or_go_on(caller.owner, key, work)


def _steps_per_epoch(job: JobDetail) -> float | None:
    known = steps_per_epoch(job.spec, train_size(job.spec))
    if known:
        return known
    return job.steps / job.epochs if job.steps and job.epochs else None


def _network(state: State, job: str) -> NetworkRecord:
    found = state.inspector.anatomy(reading.get(state.database, job).spec)
    return NetworkRecord.model_validate({"layers": [], **found})


def _sample(state: State, asked: dict[str, Any], code: list[str]) -> SampleRecord:
    found = state.inspector.sample(asked, code)
    return SampleRecord.model_validate({"what": "nothing", "shape": [], **found})


def _checked(kind: str, options: str) -> dict[str, Any]:
    if kind not in BY_KIND:
        raise NotFound(f"there is no normalizer {kind!r}; the list of normalizers has all")
    try:
        given = decode(options.encode())
    except json.JSONDecodeError as e:
        raise _not_an_object(str(e)) from e
    if not isinstance(given, dict):
        raise _not_an_object(type(given).__name__)
    spec = parse_normalizer({**given, "kind": kind})
    refuse(check_channels(spec, [_CHANNELS]))
    return spec.model_dump(mode="json")


def _not_an_object(found: str) -> InvalidSpec:
    rule = f'must be one JSON object, such as {{"eps": 0.001}}, not {found}'
    return InvalidSpec.of([FieldProblem("options", rule)])
