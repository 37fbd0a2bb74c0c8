"""Plots of a study's results, fit for a paper: PNG, SVG or PDF, readable without colour vision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Optional, Tuple

from normlab.errors import InvalidSpec
from normlab.not_finite import tallied
from normlab.presentation import spreads
from normlab.presentation.axis_units import mark
from normlab.presentation.panels import (
    COLORS,
    MARKERS,
    SIGNIFICANT,
    Look,
    draw_heat_map,
    draw_lines,
    draw_points,
    numeric_paths,
    significant,
)
from normlab.records import DifferenceTable, ResultRow, ResultTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLORS", "FORMATS", "MARKERS", "STYLE", "check", "draw", "save"]

FORMATS = (".png", ".svg", ".pdf")
STYLE: Any = {  # matplotlib types every key
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "savefig.dpi": 200,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
_WIDTH, _HEIGHT = 4.6, 3.2  # inches; a column and a half
_PANEL = 3.0  # of each of several panels
_ACROSS = 3
_MOST_PATHS, _MOST_PANELS = 3, 12


def save(
    table: ResultTable,
    target: Path,
    spread: str = "interval",
    against: Optional[DifferenceTable] = None,
) -> Path:
    """
    Plot *table* into *target*, whose ending chooses the format.

    Two paths, one of them numeric: one line per value of the other path over the numeric one, with
    a band. Two other paths: a heat map. One path: its means and seeds. With a third path, there is
    one such panel for each of its values, on the same axis.

    Args:
        table: a row per combination of its paths.
        target: the file.
        spread: what is drawn around a mean, of `spreads.SPREADS`.
        against: stars mark the rows with a significant difference in this table.

    Raises:
        InvalidSpec: another ending, no value to show, more than three paths, or too many panels.
    """
    if target.suffix.lower() not in FORMATS:
        raise InvalidSpec(
            f"{target.name}: the name of a plot must end in one of {', '.join(FORMATS)}"
        )
    check(table, spread)
    figure = draw(table, spread, against)
    figure.savefig(target, bbox_inches="tight")
    return target


def check(table: ResultTable, spread: str) -> None:
    """Raise InvalidSpec unless *table* can be drawn."""
    spreads.check_spread(spread)
    if not any(row.mean is not None for row in table.rows):
        raise InvalidSpec(f"no cell has {table.metric} yet, so there is nothing to plot")
    if not 1 <= len(table.group_by) <= _MOST_PATHS:
        raise InvalidSpec(
            f"a plot shows one to three paths, found {table.group_by}; choose with --group-by, and "
            "fix the others with --where"
        )
    panels = len(_panels(table))
    if panels > _MOST_PANELS:
        raise InvalidSpec(
            f"{table.group_by[-1]} has {panels} values, and a plot has at most {_MOST_PANELS} "
            "panels; make it the first path, or fix it with --where"
        )


def draw(
    table: ResultTable, spread: str = "interval", against: Optional[DifferenceTable] = None
) -> Figure:
    """Draw *table* on a new figure."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _panels(table)
    lines, columns = -(-len(panels) // _ACROSS), min(len(panels), _ACROSS)
    with mpl.rc_context(STYLE):
        alone = len(panels) == 1
        size = (_WIDTH, _HEIGHT) if alone else (_PANEL * columns + 0.8, 2.6 * lines + 0.4)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        places = figure.subplots(lines, columns, squeeze=False).flatten()
        _fill(figure, places, panels, table, _look(table, spread, against))
        for empty in places[len(panels) :]:
            empty.remove()
        if not alone:
            figure.suptitle(_chosen(table), fontsize=9)
        figure.supxlabel(_explained(table, spread, against), fontsize=7)
    return figure


def _panels(table: ResultTable) -> List[ResultTable]:
    """Divide *table* by its third path, if it has one."""
    if len(table.group_by) < _MOST_PATHS:
        return [table]
    path = table.group_by[-1]
    names = list(dict.fromkeys(row.labels[path] for row in table.rows))
    return [
        table.model_copy(
            update={
                "group_by": table.group_by[:-1],
                "where": {path: name},
                "rows": [row for row in table.rows if row.labels[path] == name],
            }
        )
        for name in names
    ]


def _look(table: ResultTable, spread: str, against: Optional[DifferenceTable]) -> Look:
    paths = table.group_by[:2]
    x = (numeric_paths(table, paths) or paths)[-1]
    series = next((path for path in paths if path != x), x)
    return Look(
        spread=spread,
        reach=spreads.reach(table.rows, spread),
        series=list(dict.fromkeys(row.labels[series] for row in table.rows)),
        marked=significant(table, against),
    )


def _fill(
    figure: Figure, places: Any, panels: List[ResultTable], table: ResultTable, look: Look
) -> None:
    paths, numeric = _kind(table)
    for axes, panel in zip(places, panels):
        axes.set_title(_chosen(panel))
        if len(paths) == 1:
            draw_points(axes, panel, paths[0], look)
        elif numeric:
            series = next(path for path in paths if path != numeric[-1])
            draw_lines(axes, panel, numeric[-1], series, look)
        else:
            means = _means(table.rows)
            shared = Look(reach=means, marked=look.marked)
            image = draw_heat_map(axes, panel, paths[0], paths[1], shared)
    if len(paths) == 1 or numeric:
        for axes in places[:: _ACROSS if len(panels) > 1 else 1]:
            axes.set_ylabel(table.metric)
            mark(axes.yaxis, table.metric)
        if numeric and len(paths) > 1:
            places[0].legend()
    else:
        bar = figure.colorbar(image, ax=list(places[: len(panels)]), label=table.metric)
        mark(bar.ax.yaxis, table.metric)


def _chosen(table: ResultTable) -> str:
    return ", ".join(f"{path} = {name}" for path, name in table.where.items())


def _kind(table: ResultTable) -> Tuple[List[str], List[str]]:
    paths = table.group_by[:2]
    return paths, numeric_paths(table, paths)


def _means(rows: List[ResultRow]) -> Optional[Tuple[float, float]]:
    known = [row.mean for row in rows if row.mean is not None]
    return (min(known), max(known)) if known and min(known) < max(known) else None


def _explained(table: ResultTable, spread: str, against: Optional[DifferenceTable]) -> str:
    """Write explanations below a figure."""
    paths, numeric = _kind(table)
    is_heat_map = len(paths) > 1 and not numeric
    parts = [] if is_heat_map else [spreads.words(table, spread), spreads.note(table.rows, spread)]
    excluded = tallied(name for row in table.rows for name in row.excluded.values())
    if excluded:
        parts.append(f"in no mean: {excluded}")
    if against is not None:
        parts.append(f"* differs from {against.against} (paired t, Holm, p < {SIGNIFICANT:g})")
    return "; ".join(part for part in parts if part)
