"""Tables of jobs over HTTP: chosen columns of all jobs of a filter, with types."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

from normlab.client.frames import dtype
from normlab.client.paging import all_items
from normlab.client.transport import Transport
from normlab.client.whole_ids import with_whole_ids
from normlab.not_finite import FIELD
from normlab.records.tables import FieldList, TableRecord, TableRow
from normlab.specs.cells import label

if TYPE_CHECKING:
    import pandas as pd

_AT_ONCE = 1000


def rows_of(
    transport: Transport, where: Optional[str], columns: Sequence[str], limit: Optional[int]
) -> Tuple[List[str], List[TableRow]]:
    """Return the kind of each column, and the rows of all jobs that *where* finds."""
    kinds: List[str] = []

    def ask(cursor: Optional[str], size: int) -> Tuple[Sequence[TableRow], Optional[str]]:
        body = {"columns": list(columns), "filter": where, "cursor": cursor, "limit": size}
        page = transport.record(TableRecord, "POST", "/jobs:table", json=body, repeatable=True)
        kinds[:] = [column.kind for column in page.columns]
        return page.rows, page.next_cursor

    return kinds, list(all_items(ask, limit, _AT_ONCE))


def unknown_metric(transport: Transport, name: str) -> Optional[str]:
    """Return why no job can have the metric *name*, with similar names; None if one can."""
    found = transport.record(FieldList, "GET", "/jobs:fields")
    known = [field.name for field in found.fields if field.kind == "metric"]
    if not known or found.more_metrics or name in known:
        return None
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or known[:3]
    return f"no job has reported a metric {name!r}; the nearest are {', '.join(near)}"


def typed_frame(
    names: Sequence[str], kinds: Sequence[str], rows: Sequence[TableRow]
) -> pd.DataFrame:
    """
    Return *rows* as a frame with the columns *names*, typed by their *kinds*.

    Its `attrs["not_finite"]` has the names of values that are NaN or infinite, by column and job.
    """
    import pandas as pd

    columns = {
        name: typed_column(kind, [row.values[i] for row in rows])
        for i, (name, kind) in enumerate(zip(names, kinds))
    }
    frame = pd.DataFrame({name: columns.get(name, pd.Series(dtype="object")) for name in names})
    frame.attrs[FIELD] = _not_finite(names, rows)
    return with_whole_ids(frame)


def _not_finite(names: Sequence[str], rows: Sequence[TableRow]) -> Dict[str, Dict[str, str]]:
    found: Dict[str, Dict[str, str]] = {}
    for row in rows:
        for place, name in row.not_finite.items():
            found.setdefault(names[int(place.rpartition("/")[2])], {})[row.id] = name
    return found


def typed_column(kind: str, values: List[Any]) -> pd.Series:
    """Return *values* of a column of this *kind* (or None) with the type that fits all of them."""
    import pandas as pd

    if kind == "moment":
        return pd.Series(pd.to_datetime(pd.Series(values, dtype="object"), utc=True))
    if kind == "field":  # a part with options is its label, such as group(groups=4)
        values = [label(v) if isinstance(v, (dict, list)) else v for v in values]
    types = {type(v) for v in values if v is not None}
    if len(types) > 1 and types != {int, float}:
        values = [None if v is None else str(v) for v in values]
    whole = all(v is None or float(v).is_integer() for v in values if not isinstance(v, str))
    if types == {int, float}:
        return pd.Series(values, dtype="float64")
    return pd.Series(values, dtype="float64" if kind == "number" and not whole else dtype(values))
