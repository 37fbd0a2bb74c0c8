"""A study's results as text: Markdown, LaTeX, CSV, and Parquet for programs."""

from __future__ import annotations

import csv
import io
import re
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from normlab.errors import InvalidSpec
from normlab.presentation.columns import plain_cell, typed_columns
from normlab.presentation.digits import Shown, around, like, of_none, shown
from normlab.presentation.spreads import ends
from normlab.records import DifferenceRow, DifferenceTable, ResultRow, ResultTable

_LATEX = {c: "\\" + c for c in "&%$#_{}"}
_LATEX.update({"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"})


def pivot(table: ResultTable, spread: str = "interval") -> Tuple[List[str], List[List[str]]]:
    """
    Arrange a table as papers print it: the first path down, the others across.

    With one path, or none, there is one row per combination, with its mean and number of seeds. The
    same holds if each value of the first path has only one of the second, because most of a grid
    would be empty.
    """
    texts = cells(table, spread)
    if len(table.group_by) != 2 or _is_a_choice(table):
        head = [*table.group_by, table.metric, "n"]
        return head, [[*row.labels.values(), text, str(row.n)]
                      for row, text in zip(table.rows, texts)]  # fmt: skip
    down, across = table.group_by
    columns = list(dict.fromkeys(row.labels[across] for row in table.rows))
    lines = list(dict.fromkeys(row.labels[down] for row in table.rows))
    found = {(row.labels[down], row.labels[across]): t for row, t in zip(table.rows, texts)}
    head = [f"{down} \\ {across}", *columns]
    return head, [[line, *(found.get((line, c), "") for c in columns)] for line in lines]


def _is_a_choice(table: ResultTable) -> bool:
    """Return whether each value of the first path has a single value of the second."""
    down, across = ([row.labels[path] for row in table.rows] for path in table.group_by)
    return len(set(down)) == len(table.rows) and len(set(across)) > 1


def cells(table: ResultTable, spread: str = "interval") -> List[str]:
    """
    Show each row: mean, spread, and the cells without a value by state.

    `0.915 ± 0.004 (1 failed, 2 queued)`, with the digits of `normlab.presentation.digits`. A mean
    has the same digits with any spread: `0.915 (0.911 to 0.920)`.
    """
    texts = shown([(row.mean, row.half) for row in table.rows], table.metric)
    return [
        (_around(row, text, spread) or of_none(row.excluded) or "—")
        + (f" ({without(row)})" if row.without else "")
        for row, text in zip(table.rows, texts)
    ]


def _around(row: ResultRow, text: Shown, spread: str) -> str:
    if spread == "interval":
        return str(text)
    found = ends(row, spread)
    if found is None:
        return text.mean
    if spread == "sd":
        return f"{text.mean} ± {around(text, row.sd or 0.0)}"
    low, high = (like(text, end) for end in found)
    return f"{text.mean} ({low} to {high})"


def without(row: ResultRow) -> str:
    """Return how many cells are not in the row's mean, and why: `1 failed, 2 queued, 1 NaN`."""
    return ", ".join(f"{count} {why}" for why, count in row.without.items())


def markdown(table: ResultTable) -> str:
    """Render as a Markdown table."""
    head, lines = pivot(table)
    rows = [head, ["---"] * len(head), *lines]
    text = ["| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in rows]
    return "\n".join([*text, "", f"{_caption(table)}", ""])


def latex(table: ResultTable, spread: str = "interval") -> str:
    """Render as a LaTeX table, with *spread* around means; needs the package booktabs."""
    head, lines = pivot(table, spread)
    rows = [" & ".join(_escaped(c) for c in row) + r" \\" for row in lines]
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{_escaped(_caption(table, spread))}}}",
            rf"  \begin{{tabular}}{{l{'c' * (len(head) - 1)}}}",
            r"    \toprule",
            "    " + " & ".join(_escaped(c) for c in head) + r" \\",
            r"    \midrule",
            *("    " + row for row in rows),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def tidy(table: ResultTable) -> List[Dict[str, Any]]:
    """
    List one record for each job: coordinates, seed, state, and its value if there is one.

    A coordinate keeps its type, as `typed_columns` says.
    """
    columns = typed_columns([row.coordinates for row in table.rows])
    return [
        {
            **{path: values[i] for path, values in columns.items()},
            "seed": seed,
            "job": row.jobs.get(seed),
            "state": state,
            table.metric: row.number(seed),
        }
        for i, row in enumerate(table.rows)
        for seed, state in row.states.items()
    ]


def means(table: ResultTable, against: Optional[DifferenceTable] = None) -> List[Dict[str, Any]]:
    """
    List one record for each row: coordinates, number of seeds, mean, spread, and missing cells.

    low and high are the ends of the interval, smallest and largest those of the seeds.
    With *against* also the difference from its reference, with the interval and the adjusted p.
    """
    columns = typed_columns([row.coordinates for row in table.rows])
    return [
        {
            **{path: values[i] for path, values in columns.items()},
            "n": row.n,
            table.metric: row.mean,
            "sd": row.sd,
            "low": row.low,
            "high": row.high,
            "smallest": min(row.values.values(), default=None),
            "largest": max(row.values.values(), default=None),
            "without": without(row),
            **_difference(row, table, against),
        }
        for i, row in enumerate(table.rows)
    ]


def _difference(
    row: ResultRow, table: ResultTable, against: Optional[DifferenceTable]
) -> Dict[str, Any]:
    if against is None:
        return {}
    found = difference_of(row, table, against)
    name = f"difference from {against.against}"
    if found is None:
        return dict.fromkeys((name, "difference low", "difference high", "p adjusted"))
    return {
        name: found.mean,
        "difference low": found.low,
        "difference high": found.high,
        "p adjusted": found.p_adjusted,
    }


def difference_of(
    row: ResultRow, table: ResultTable, against: DifferenceTable
) -> Optional[DifferenceRow]:
    """Return the difference of a *row* of *table*; None for the reference itself."""
    for found in against.rows:
        if all(found.labels.get(path) == row.labels[path] for path in table.group_by):
            return found
    return None


def comma_separated(rows: Sequence[Mapping[str, Any]]) -> str:
    """Render records as CSV with a header; missing values are empty."""
    out = io.StringIO()
    names = list(rows[0]) if rows else []
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([plain_cell(name) for name in names])
    writer.writerows([plain_cell(row[name]) for name in names] for row in rows)
    return out.getvalue()


def parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Render records as a Parquet file."""
    import pyarrow as pa  # large, and only this function needs it
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), out)
    return out.getvalue()


FORMATS: Dict[str, Callable[[ResultTable], str]] = {
    "markdown": markdown,
    "latex": latex,
    "csv": lambda table: comma_separated(tidy(table)),
    "means": lambda table: comma_separated(means(table)),
}


def render(table: ResultTable, form: str) -> str:
    """
    Render *table* as text.

    Raises:
        InvalidSpec: *form* is not one of FORMATS.
    """
    if form not in FORMATS:
        raise InvalidSpec(f"format {form!r} is not one of {', '.join(FORMATS)}")
    return FORMATS[form](table)


def _caption(table: ResultTable, spread: str = "interval") -> str:
    around = {
        "interval": f"with the {table.confidence * 100:g} % {table.interval} interval",
        "sd": "± standard deviation",
        "range": "(smallest to largest seed)",
    }.get(spread, "")
    chosen = "".join(f", {path} = {name}" for path, name in table.where.items())
    told = f"mean over seeds {around}".rstrip()
    return f"{table.metric} ({table.reduction}){chosen}, {told}."


def _escaped(text: str) -> str:
    escaped = re.sub(r"[&%$#_{}~^\\]", lambda m: _LATEX[m.group()], text)
    return escaped.replace("±", r"$\pm$").replace("—", "---")
