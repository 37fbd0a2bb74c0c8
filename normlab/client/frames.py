"""A study's results as a pandas frame: one row per job, typed columns, any metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Sequence

from normlab.client.whole_ids import with_whole_ids
from normlab.not_finite import FIELD
from normlab.presentation.columns import typed_columns
from normlab.records import ResultTable, StudyDetail

if TYPE_CHECKING:
    import pandas as pd

_WHOLE = {int: "int64", float: "float64", bool: "bool", str: "string"}
_WITH_GAPS = {int: "Int64", float: "float64", bool: "boolean", str: "string"}


def frame(study: StudyDetail, tables: Sequence[ResultTable]) -> pd.DataFrame:
    """
    Join the *tables* of several metrics to one frame, with one row per cell of *study*.

    Columns: one for each path, `seed`, `job`, `state`, and one for each metric, as floats with NaN
    where a job has no value. Whole numbers are int64 (Int64 where one is missing), truth values
    bool (boolean), texts string, and `state` is a category. `attrs["not_finite"]` has, by metric
    and job, the names of values that are NaN or infinite and not missing.
    """
    import pandas as pd  # large, and only this function needs it

    paths = typed_columns([cell.coordinates for cell in study.grid])
    columns = {path: pd.Series(values, dtype=dtype(values)) for path, values in paths.items()}
    columns["seed"] = pd.Series([cell.seed for cell in study.grid], dtype="int64")
    columns["job"] = pd.Series([cell.job for cell in study.grid], dtype="string")
    columns["state"] = pd.Series([cell.state for cell in study.grid], dtype="category")
    for table in tables:
        found = _by_job(table)
        numbers = [found.get(str(cell.job)) for cell in study.grid]
        columns[table.metric] = pd.Series(numbers, dtype="float64")
    found = pd.DataFrame(columns)
    found.attrs[FIELD] = {
        table.metric: {row.jobs[s]: n for row in table.rows for s, n in row.excluded.items()}
        for table in tables
        if any(row.excluded for row in table.rows)
    }
    return with_whole_ids(found)


def dtype(values: List[Any]) -> str:
    """Return the pandas type for *values*, which are of one type or None."""
    types = {type(value) for value in values}
    kinds = types - {type(None)}
    if not kinds:
        return "object"
    return (_WHOLE if kinds == types else _WITH_GAPS)[kinds.pop()]


def _by_job(table: ResultTable) -> Dict[str, float]:
    return {
        row.jobs[seed]: number
        for row in table.rows
        for seed in (*row.values, *row.excluded)
        if (number := row.number(seed)) is not None
    }
