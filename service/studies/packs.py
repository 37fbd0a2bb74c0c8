"""The packs that a study's cells would train in, and the refusal of an impossible `pack: N`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from normlab.errors import FieldProblem, InvalidSpec
from normlab.specs.cells import Cell, lay_out
from normlab.specs.jobs import JobSpec
from normlab.specs.measures import is_timing
from normlab.specs.pack_sizes import (
    Gains,
    PackSize,
    expected_gain,
    members_by_measure,
    members_of,
    mixing_gains,
)
from normlab.specs.packs import group_of, is_own, layer_of, obstacle
from normlab.specs.studies import StudySpec
from service.jobs.pack_measures import has_model_of_gains
from service.jobs.placement import PlaceOf
from service.store import patience
from service.studies.pack_obstacles import PackGroup, obstacles
from service.studies.spaces import corners

MeasuredGains = Callable[[JobSpec, str], Gains]
"""Return the measured gain of packs of such jobs on a kind of device."""


def planned_packs(
    study: StudySpec, cells: Sequence[Cell], place: PlaceOf, measured: MeasuredGains
) -> dict[str, Any]:
    """Return the packs that the *cells* make, their gain, and why others are left out."""
    by_time = study.decide is not None and is_timing(study.decide.metric)
    if study.pack == "off" or study.search is not None or (study.pack == "auto" and by_time):
        return {}
    packs = packed = 0
    alone_s = together_s = 0.0
    groups, others = _groups(cells, by_itself=study.pack == "auto", place=place)
    if study.pack == "auto":
        groups = [part for group in groups for part in _by_itself(group)]
    worth = [_worth(study.pack, group, measured) for group in groups]
    for group, (most, gain_of) in zip(groups, worth, strict=True):
        size = min(len(group.jobs), most)
        if size < 2:
            continue
        whole, rest = divmod(len(group.jobs), size)
        packs += whole + (rest > 1)
        packed += len(group.jobs) - (rest == 1)
        gain = gain_of(size)
        if gain is not None:  # the others were never measured
            alone_s += len(group.jobs)
            together_s += len(group.jobs) / gain
    gained = round(alone_s / together_s, 1) if together_s else None
    found = obstacles(study.pack, groups, [most for most, _ in worth], others)
    return {
        "packs": packs,
        "packed": packed,
        "alone": len(cells) - packed,
        "pack_gain": gained,
        "pack_obstacles": found,
    }


def _worth(
    asked: PackSize, group: PackGroup, measured: MeasuredGains
) -> tuple[int, Callable[[int], float | None]]:
    """Return the most members of a pack of *group*, and the gain with that number."""
    spec = group.jobs[0]
    if has_model_of_gains(group.device):
        layers = sorted(group.layers)
        return members_of(spec, asked), lambda size: expected_gain(
            spec, size, len(set(layers[:size]))
        )
    gains = measured(spec, group.device)
    return members_by_measure(spec, asked, None, gains), gains.get


def _by_itself(group: PackGroup) -> list[PackGroup]:
    """Return the jobs that train in one pack if the study gives no number of members."""
    first = group.jobs[0]
    if has_model_of_gains(group.device) and mixing_gains(
        first, members_of(first, "auto"), group.layers
    ):
        return [group]
    return group.by_layer()


def refuse_unpackable(study: StudySpec) -> None:
    """
    Refuse a number of members if no two cells can be members of one pack.

    Raises:
        InvalidSpec: the problem of `pack` names the field that prevents it.
    """
    if isinstance(study.pack, str):
        return
    cells = corners(study) if study.search else lay_out(study, patience.check).cells
    specs = [cell.spec for cell in cells]
    groups, _ = _groups(cells, by_itself=False)
    if any(len(group.jobs) > 1 for group in groups):
        return
    found = obstacle(specs[:1]) or obstacle(specs)
    why = "the study has one cell" if found is None else f"{found.field}: {found.rule}"
    rule = f"no two cells can train in one pack: {why}; leave pack out, or use 'auto'"
    raise InvalidSpec.of([FieldProblem("pack", rule)])


def _groups(
    cells: Sequence[Cell], *, by_itself: bool, place: PlaceOf | None = None
) -> tuple[list[PackGroup], list[tuple[JobSpec, str | None]]]:
    """
    Return the jobs that can be members of the same packs, and those that can be in none.

    Args:
        place: chooses the devices; None: any device that takes packs will do.
    """
    known: dict[str, tuple[str | None, str | None, str]] = {}
    found: dict[tuple[str, str | None], PackGroup] = {}
    others: list[tuple[JobSpec, str | None]] = []
    for cell in cells:
        # grouped by the fields in which members may not differ: a grid has few such values and many
        # cells; of a number that each member has, only its presence counts (a device may refuse
        # every limit)
        shared = {
            path: value is None if is_own(path) else value
            for path, value in cell.coordinates.items()
        }
        values = json.dumps(shared, sort_keys=True)
        if values not in known:
            device = None if place is None else place(cell.spec)[0]
            group = group_of(cell.spec, by_itself=by_itself, kind=device)
            known[values] = group, device, layer_of(cell.spec)
        group, device, layer = known[values]
        if group is None:
            others.append((cell.spec, device))
        else:
            found.setdefault((group, device), PackGroup(device or "")).add(cell.spec, layer)
    return list(found.values()), others
