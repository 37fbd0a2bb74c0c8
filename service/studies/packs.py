"""The packs that a study's cells would train in, and a refusal where `pack: N` cannot be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from normlab.errors import FieldProblem, InvalidSpec
from normlab.specs.cells import Cell, lay_out
from normlab.specs.jobs import JobSpec
from normlab.specs.pack_sizes import expected_gain, members_of
from normlab.specs.packs import group_of, is_own, obstacle
from normlab.specs.studies import StudySpec
from normlab.specs.timings import is_timing
from service.store import patience
from service.studies.pack_obstacles import obstacles
from service.studies.spaces import corners


def planned_packs(study: StudySpec, cells: Sequence[Cell]) -> dict[str, Any]:
    """Return the packs that the *cells* make, their gain, and what keeps cells out of them."""
    by_time = study.decide is not None and is_timing(study.decide.metric)
    if study.pack == "off" or study.search is not None or (study.pack == "auto" and by_time):
        return {}
    packs = packed = 0
    alone_s = together_s = 0.0
    groups, others = _groups(cells, by_itself=study.pack == "auto")
    for group in groups:
        size = min(len(group), members_of(group[0], study.pack))
        if size < 2:
            continue
        whole, rest = divmod(len(group), size)
        packs += whole + (rest > 1)
        packed += len(group) - (rest == 1)
        gain = expected_gain(group[0], size)
        alone_s += len(group)
        together_s += len(group) / (gain or 1.0)
    gained = round(alone_s / together_s, 1) if together_s else None
    found = obstacles(study.pack, groups, others)
    return {"packs": packs, "packed": packed, "pack_gain": gained, "pack_obstacles": found}


def refuse_unpackable(study: StudySpec) -> None:
    """
    Refuse a number of members where no two cells can be members of one pack.

    Raises:
        InvalidSpec: the problem of `pack` names the field that stands in the way.
    """
    if isinstance(study.pack, str):
        return
    cells = corners(study) if study.search else lay_out(study, patience.check).cells
    specs = [cell.spec for cell in cells]
    groups, _ = _groups(cells, by_itself=False)
    if any(len(group) > 1 for group in groups):
        return
    found = obstacle(specs[:1]) or obstacle(specs)
    why = "there is one cell" if found is None else f"{found.field}: {found.rule}"
    rule = f"{study.pack} cells cannot be one pack: {why}; leave it out, or use 'auto'"
    raise InvalidSpec.of([FieldProblem("pack", rule)])


def _groups(cells: Sequence[Cell], *, by_itself: bool) -> tuple[list[list[JobSpec]], list[JobSpec]]:
    """Return the jobs that can be members of the same packs, and those that can be in none."""
    known: dict[str, str | None] = {}
    found: dict[str, list[JobSpec]] = {}
    others: list[JobSpec] = []
    for cell in cells:
        # by what members may not differ in: a grid has few such values, and many cells
        shared = {path: value for path, value in cell.coordinates.items() if not is_own(path)}
        place = json.dumps(shared, sort_keys=True)
        if place not in known:
            known[place] = group_of(cell.spec, by_itself=by_itself)
        group = known[place]
        (others if group is None else found.setdefault(group, [])).append(cell.spec)
    return list(found.values()), others
