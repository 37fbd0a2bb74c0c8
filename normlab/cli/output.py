"""Output of the CLI: tables for people, JSON for programs, one line for an error."""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime, timezone
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Iterable,
    List,
    Literal,
    Optional,
    Sequence,
    Type,
    TypeVar,
)

from normlab import counting
from normlab.cli.forms import AsJson, text_of
from normlab.not_finite import taken_out, written
from normlab.plain_text import shown

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console
    from rich.table import Table

    from normlab.records import JobRecord

__all__ = [
    "STYLES", "AsJson", "ago", "console", "device_of", "examples", "last", "measured",
    "normalizer", "print_each", "print_json", "print_json_line", "print_rows", "print_table",
    "print_told", "short_ids", "size", "state", "table_of",
]  # fmt: skip
T = TypeVar("T")
STYLES = {
    "queued": "yellow",
    "running": "cyan",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "magenta",
}
SHORT_ID = 8  # characters: in 1 of 10,000 lists of 1,000 jobs, two have the same end
_TAG, _ESCAPED = re.compile(r"(\[[a-z#/@][^\[]*?\])"), r"\\\1"


def console() -> Console:
    """Return the console for tables and other text for people."""
    from rich.console import Console

    # pipes have no width, so it is wide enough that no column is cut
    return Console(width=None if sys.stdout.isatty() else 200, highlight=False)


def print_json(value: Any, rows: Any = None, columns: Iterable[str] = ()) -> None:
    """
    Print *value*, a record or plain data, as JSON, or in the form that `--output` names.

    Args:
        rows: the same as a list of records, for CSV; None if *value* is a list or a single record.
        columns: the header of a CSV without rows.
    """
    print(shown(text_of(_plain(value), _plain(rows), list(columns))))


def print_json_line(value: Any) -> None:
    """Print *value* on one line, and flush."""
    print(shown(json.dumps(taken_out(_plain(value)), ensure_ascii=False)), flush=True)


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def print_told(found: Any, as_json: bool, line: str) -> None:
    """Print *found* as JSON, or the *line* that describes it."""
    if as_json:
        print_json(found)
    else:
        print(line)


def print_each(found: Iterable[T], as_json: bool, line: Callable[[T], str]) -> None:
    """Print *found* as JSON, or the *line* of each; also those that were done before an error."""
    if not as_json:
        for one in found:
            print(line(one), flush=True)
        return
    done: List[T] = []
    try:
        done.extend(found)
    finally:
        print_json(done)


def print_rows(
    found: Any,
    as_json: bool,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    spare: Sequence[str] = (),
    kind: Optional[Type[BaseModel]] = None,
    none: str = "",
) -> None:
    """
    Print *found* as JSON, or the *rows* that describe it.

    Args:
        spare: columns that are omitted in a narrow terminal, in this order.
        kind: what the list contains, for a list that may be empty.
        none: the text that is printed instead of an empty list.
    """
    if as_json:
        print_json(found, columns=kind.model_fields if kind else ())
    elif rows or not none:
        print_table(columns, rows, spare=spare)
    if not rows and none:
        print(none, file=sys.stderr)


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    title: str = "",
    spare: Sequence[str] = (),
) -> None:
    """
    Print *rows* under *columns*; numbers are right-aligned.

    Args:
        spare: columns that are omitted in a narrow terminal, in this order.
    """
    out = console()
    left_out: List[str] = []
    table = table_of(columns, rows)
    for name in spare:
        if table.__rich_measure__(out, out.options.update(max_width=10_000)).maximum <= out.width:
            break
        left_out.append(name)
        kept = [i for i, column in enumerate(columns) if column not in left_out]
        table = table_of([columns[i] for i in kept], [[row[i] for i in kept] for row in rows])
    if title:
        out.print(title, style="bold", markup=False)
    out.print(table)


def table_of(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """Return *rows* under *columns* as a table of rich."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for i, name in enumerate(columns):
        numeric = bool(rows) and all(_is_number(row[i]) for row in rows)
        # as Text, because a name such as base[0] is not markup
        justify: Literal["right", "left"] = "right" if numeric else "left"
        table.add_column(Text(name), justify=justify, overflow="fold")  # nothing is cut off
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(_cell(cell)) for cell in row))
    return table


def short_ids(ids: Sequence[str]) -> List[str]:
    """Return distinct ends of *ids*: they begin with the creation time, so they start alike."""
    length = SHORT_ID
    while len({one[-length:] for one in ids}) < len(set(ids)):
        length += 1
    return [one[-length:] for one in ids]


def measured(metric: str, value: Optional[float]) -> Any:
    """Return a value of *metric* for a table; bytes have a unit, and are on the right."""
    from rich.text import Text

    if value is None or not metric.endswith("_bytes"):
        return value
    return Text(counting.measured(metric, value), justify="right")


def _is_number(cell: Any) -> bool:
    return isinstance(cell, (int, float)) or getattr(cell, "justify", None) == "right"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return written(value)
    if isinstance(value, (bool, dict, list)):
        return shown(json.dumps(value, ensure_ascii=False))  # as it is written in a file
    return shown(str(value))


def state(job: JobRecord) -> Any:
    """Return a job's state in its colour."""
    from rich.text import Text

    return Text(job.state, style=STYLES[job.state])


def normalizer(job: JobRecord) -> str:
    """Name a job's normalizer and its activation."""
    return job.normalizer + ("+proxy" if job.proxy else "")


def device_of(job: JobRecord) -> str:
    """Name a job's device, or the emulation that replaced it, or the number of jobs in its pack."""
    if job.packed is not None:
        return f"{job.device} (packed: {job.packed})"
    return job.device if job.timing_valid else f"{job.device} ({job.runtime})"


def last(job: JobRecord, name: str) -> Optional[float]:
    """Return the last value of metric *name* of *job*; None if it has none."""
    found = job.last.get(name)
    return found.number() if found else None


def ago(moment: datetime) -> str:
    """Format how long ago *moment* was."""
    s = (datetime.now(timezone.utc) - moment).total_seconds()
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if s >= size:
            return f"{s / size:.0f} {unit}"
    return f"{max(s, 0):.0f} s"


def size(count: Optional[int]) -> str:
    """Format a number of bytes, if it is known."""
    return "-" if count is None else counting.size(count)


def examples(*lines: str) -> str:
    """Return the examples at the end of a command's help."""
    # help is read as rich's markup, in which [batch, group] would be a style
    return "\n\n".join(["Examples:", *(f"  {_TAG.sub(_ESCAPED, line)}" for line in lines)])
