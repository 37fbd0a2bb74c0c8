"""
The coordinates of a study's cells: every path in which two cells differ, and the values there.

A study that was extended may have cells that lack a path because it was added later, or that have
a path that is no longer in its file, or that differ in a base field. All these distinguish cells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import text

from normlab.specs.cells import label
from normlab.specs.differences import differing
from normlab.specs.jobs import ERRANDS, JobSpec
from service.store.database import Database
from service.studies.cell_values import CellValue

_SPECS = text("select id, spec from job where id = any(:jobs)")
_WHOLE = {"normalizer"}  # a field that counts as one value, even if it has options
_NO_PLACE = {"seed", *ERRANDS}


def place_all(
    database: Database, paths: Sequence[str], cells: Sequence[CellValue]
) -> tuple[list[str], list[CellValue]]:
    """Return every path in which *cells* differ, *paths* first, and the cells with their values."""
    every = list(dict.fromkeys([*paths, *(p for cell in cells for p in cell.coordinates)]))
    placed = list(cells)
    whole = all(len(cell.coordinates) == len(every) for cell in cells)
    if whole and not _twice(every, cells):
        return every, placed
    specs = _specs(database, cells)
    placed = [_filled(every, cell, specs) for cell in cells]
    alike = [specs[c.job] for c in _twice(every, placed) if c.job in specs]
    found = differing([s.model_dump(mode="json", exclude=_NO_PLACE) for s in alike], _WHOLE)
    if found:
        every += [path for path in found if path not in every]
        placed = [_filled(every, cell, specs) for cell in placed]
    return every, placed


def _twice(paths: Sequence[str], cells: Sequence[CellValue]) -> list[CellValue]:
    """List the cells with the same coordinates and seed as another cell."""
    places = [(*(label(cell.coordinates.get(p)) for p in paths), cell.seed) for cell in cells]
    counts = Counter(places)
    return [cell for cell, place in zip(cells, places, strict=True) if counts[place] > 1]


def _specs(database: Database, cells: Sequence[CellValue]) -> dict[str | None, JobSpec]:
    jobs = [UUID(cell.job) for cell in cells if cell.job is not None]
    with database.autocommit() as connection:
        rows = connection.execute(_SPECS, {"jobs": jobs})
        return {str(row.id): JobSpec.from_store(row.spec) for row in rows}


def _filled(
    paths: Sequence[str], cell: CellValue, specs: Mapping[str | None, JobSpec]
) -> CellValue:
    missing = [path for path in paths if path not in cell.coordinates]
    spec = specs.get(cell.job)
    if not missing or spec is None:
        return cell
    return replace(
        cell, coordinates=cell.coordinates | {path: _value(spec, path) for path in missing}
    )


def _value(spec: JobSpec, path: str) -> Any:
    value: Any = spec
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
    if not isinstance(value, BaseModel):
        return value
    short = value.model_dump(mode="json", exclude_defaults=True)
    names = {k: v for k, v in value.model_dump(mode="json").items() if k in ("kind", "name")}
    return {**names, **short}
