"""Plots of a study's results, fit for a paper: PNG, SVG or PDF, readable without colour vision."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Sequence, Tuple

from normlab.errors import InvalidSpec
from normlab.presentation.digits import shown
from normlab.records import ResultRow, ResultTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
# Okabe and Ito's palette, told apart by every kind of colour vision; markers tell it twice
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MARKERS = "osD^vP*X"
STYLE: Any = {  # matplotlib types every key of it
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
_TICK_CHARACTERS = 32  # then a long label goes on in another line


def save(table: ResultTable, target: Path) -> Path:
    """
    Plot *table* into *target*, whose ending chooses the format.

    Two paths of which one is numeric: one line per value of the other, over the numeric one, with
    a band for the interval. Two other paths: a heat map. One path: its means with intervals.

    Raises:
        InvalidSpec: another ending, no value to show, or more than two paths.
    """
    if target.suffix.lower() not in FORMATS:
        raise InvalidSpec(f"{target.name}: a plot ends in one of {', '.join(FORMATS)}")
    if not any(row.mean is not None for row in table.rows):
        raise InvalidSpec(f"no cell has {table.metric} yet, so there is nothing to plot")
    if not 1 <= len(table.group_by) <= 2:
        raise InvalidSpec(
            f"a plot shows one or two paths, found {table.group_by}; choose with --group-by, and "
            "fix the others with --where"
        )
    figure = draw(table)
    figure.savefig(target, bbox_inches="tight")
    return target


def draw(table: ResultTable) -> Figure:
    """Draw *table* on a new figure."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        numeric = [p for p in table.group_by if _is_numeric(table, p)]
        if len(table.group_by) == 1:
            _draw_points(axes, table)
        elif numeric:
            x = numeric[-1]
            _draw_lines(axes, table, x, next(p for p in table.group_by if p != x))
        else:
            _draw_heat_map(figure, axes, table)
        axes.set_title(", ".join(f"{path} = {name}" for path, name in table.where.items()))
    return figure


def _is_numeric(table: ResultTable, path: str) -> bool:
    values = [row.coordinates[path] for row in table.rows]
    return all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)


def _draw_lines(axes: Axes, table: ResultTable, x: str, series: str) -> None:
    xs = sorted({row.coordinates[x] for row in table.rows})
    for i, (name, rows) in enumerate(_series(table.rows, series)):
        known = sorted((r for r in rows if r.mean is not None), key=lambda r: r.coordinates[x])
        at = [r.coordinates[x] for r in known]
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        axes.plot(at, [_or_nan(r.mean) for r in known], marker=marker, color=color, label=name)
        banded = [r for r in known if r.low is not None]
        if banded:
            low, high = [_or_nan(r.low) for r in banded], [_or_nan(r.high) for r in banded]
            axes.fill_between(
                [r.coordinates[x] for r in banded], low, high, color=color, alpha=0.15, linewidth=0
            )
    if len(xs) > 1 and min(xs) > 0 and max(xs) / min(xs) >= 4:
        axes.set_xscale("log", base=2)
    axes.set_xticks(xs, [f"{v:g}" for v in xs])
    axes.minorticks_off()
    axes.set_xlabel(x)
    axes.set_ylabel(table.metric)
    axes.legend()


def _draw_points(axes: Axes, table: ResultTable) -> None:
    path = table.group_by[0]
    known = [row for row in table.rows if row.mean is not None]
    for i, row in enumerate(known):
        color = COLORS[i % len(COLORS)]
        axes.plot([i] * len(row.values), list(row.values.values()), "o", color=color, alpha=0.4)
        if row.low is not None and row.high is not None:
            axes.plot([i, i], [row.low, row.high], color=color)
        axes.plot([i], [_or_nan(row.mean)], "_", color=color, markersize=16, markeredgewidth=2)
    names = [_in_lines(r.labels[path]) for r in known]
    axes.set_xticks(range(len(known)), names, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.6, len(known) - 0.4)
    axes.set_ylabel(table.metric)


def _in_lines(label: str) -> str:
    return textwrap.fill(label, _TICK_CHARACTERS, break_long_words=False, break_on_hyphens=False)


def _draw_heat_map(figure: Figure, axes: Axes, table: ResultTable) -> None:
    down, across = table.group_by
    lines = list(dict.fromkeys(row.labels[down] for row in table.rows))
    columns = list(dict.fromkeys(row.labels[across] for row in table.rows))
    places = [(row.labels[down], row.labels[across]) for row in table.rows]
    means = dict(zip(places, (row.mean for row in table.rows)))
    texts = dict(zip(places, shown([(row.mean, row.half) for row in table.rows])))
    grid = [[_or_nan(means.get((line, c))) for c in columns] for line in lines]
    image = axes.imshow(grid, cmap="cividis", aspect="auto")
    middle = sum(image.get_clim()) / 2
    for i, values in enumerate(grid):
        for j, value in enumerate(values):
            text = texts.get((lines[i], columns[j]))
            color = "white" if value < middle else "black"
            said = (text.mean if text else "") or "—"
            axes.text(j, i, said, ha="center", va="center", color=color)
    axes.set_xticks(range(len(columns)), columns, rotation=20, ha="right")
    axes.set_yticks(range(len(lines)), lines)
    axes.set_xlabel(across)
    axes.set_ylabel(down)
    axes.grid(visible=False)
    figure.colorbar(image, ax=axes, label=table.metric)


def _series(rows: Sequence[ResultRow], path: str) -> Iterator[Tuple[str, List[ResultRow]]]:
    found: Dict[str, List[ResultRow]] = {}
    for row in rows:
        found.setdefault(row.labels[path], []).append(row)
    yield from found.items()


def _or_nan(value: Any) -> float:
    return float("nan") if value is None else float(value)
