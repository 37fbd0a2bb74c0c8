"""Check a search's space before anything runs, and refuse values that are certainly wrong."""

from __future__ import annotations

import math
from typing import Any

from normlab.errors import FieldProblem, InvalidSpec
from normlab.specs.cells import Cell, Coordinates, make_cell
from normlab.specs.studies import Parameter, StudySpec
from service.jobs.placement import Check
from service.studies.grids import refuse_wrong_cells

# Not simple fractions: the middle of 2 and 32 is an integer, which says nothing about the rest.
_INSIDE = (0.381966, 0.618034)
MOST_CHOICES = 50


def refuse_wrong_space(study: StudySpec, check: Check) -> None:
    """
    Check a search's two extreme corners, and values in between for each path.

    A value is refused if the job is invalid with it at both corners. Combinations that
    are merely incompatible are allowed: the search skips them.

    Raises:
        InvalidSpec: its problems name the path in the space and the rule.
    """
    if study.search is None:
        return
    for corner in corners(study):
        refuse_wrong_cells([corner], check)
    places = [corner.coordinates for corner in corners(study)]
    for path, parameter in study.search.space.items():
        for value in _inside(parameter):
            _refuse_value(study, path, value, places, check)


def corners(study: StudySpec) -> list[Cell]:
    """Return a search's two extreme trials; none for a grid."""
    space = {} if study.search is None else study.search.space
    ends = [{path: _end(p, side) for path, p in space.items()} for side in (0, -1)]
    return [make_cell(study, end, study.seeds[0]) for end in ends] if space else []


def _refuse_value(
    study: StudySpec, path: str, value: Any, corners: list[Coordinates], check: Check
) -> None:
    faults = [_fault(study, {**corner, path: value}, check) for corner in corners]
    if faults[0] is None or faults[1] is None:
        return
    problems = [FieldProblem(p.field, f"{p.rule}{_way_out(study, path)}") for p in faults[0]]
    raise InvalidSpec.of(problems)


def _fault(study: StudySpec, place: Coordinates, check: Check) -> tuple[FieldProblem, ...] | None:
    try:
        refuse_wrong_cells([make_cell(study, place, study.seeds[0])], check)
    except InvalidSpec as e:
        return e.problems
    return None


def _way_out(study: StudySpec, path: str) -> str:
    parameter = study.search.space[path] if study.search else Parameter(choices=(0,))
    ends = (parameter.low, parameter.high)
    whole = all(end is not None and end.is_integer() for end in ends)
    return "; `integer: true` draws whole numbers only" if whole and not parameter.integer else ""


def _end(parameter: Parameter, side: int) -> Any:
    if parameter.choices is not None:
        return parameter.value(side)
    return parameter.value(parameter.high if side else parameter.low)


def _inside(parameter: Parameter) -> list[Any]:
    if parameter.choices is not None:
        n = len(parameter.choices)
        step = max(1, math.ceil(n / MOST_CHOICES))
        return [parameter.value(i) for i in range(0, n, step)]
    low, high = float(parameter.low or 0), float(parameter.high or 0)
    if parameter.log:
        return [parameter.value(low * (high / low) ** part) for part in _INSIDE]
    return [parameter.value(low + (high - low) * part) for part in _INSIDE]
