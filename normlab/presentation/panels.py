"""The panels of a plot: lines over numbers, points with their seeds, and heat maps."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple

from normlab.not_finite import tallied
from normlab.presentation.digits import of_none, shown
from normlab.presentation.spreads import Ends, ends
from normlab.records import DifferenceTable, ResultRow, ResultTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, which works for every kind of colour vision; markers repeat it
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MARKERS = "osD^vP*X"
SIGNIFICANT = 0.05
_TICK_CHARACTERS = 32  # letters, after which a long label continues on the next line


@dataclass(frozen=True)
class Look:
    """The properties that all panels of a figure share."""

    spread: str = "interval"
    reach: Optional[Ends] = None
    """The range of the metric on the axis or in colours."""
    series: Sequence[str] = ()
    """The labels that lines have in any panel, so that each keeps its colour."""
    marked: Set[str] = field(default_factory=set)
    """The keys of the rows that differ from the reference."""


def key_of(labels: Dict[str, str]) -> str:
    """Return the key of a row, which does not depend on the order of its paths."""
    return str(sorted(labels.items()))


def significant(table: ResultTable, against: Optional[DifferenceTable]) -> Set[str]:
    """Return the keys of *table*'s rows whose difference has an adjusted p below SIGNIFICANT."""
    rows = against.rows if against is not None else []
    return {
        key_of({path: row.labels.get(path, "") for path in table.group_by})
        for row in rows
        if row.p_adjusted is not None and row.p_adjusted < SIGNIFICANT
    }


def numeric_paths(table: ResultTable, paths: Sequence[str]) -> List[str]:
    """List the *paths* whose values are numbers in all rows."""
    return [path for path in paths if all(_is_number(row.coordinates[path]) for row in table.rows)]


def draw_lines(axes: Axes, table: ResultTable, x: str, series: str, look: Look) -> None:
    """Draw one line for each value of *series* over the numbers of *x*."""
    xs = sorted({row.coordinates[x] for row in table.rows})
    for name, rows in _series(table.rows, series):
        i = look.series.index(name)
        known = sorted((r for r in rows if r.mean is not None), key=lambda r: r.coordinates[x])
        at = [r.coordinates[x] for r in known]
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        axes.plot(at, [_or_nan(r.mean) for r in known], marker=marker, color=color, label=name)
        _draw_band(axes, known, x, color, look)
        _draw_stars(axes, [(r.coordinates[x], r) for r in known], color, look)
    if len(xs) > 1 and min(xs) > 0 and max(xs) / min(xs) >= 4:
        axes.set_xscale("log", base=2)
    axes.set_xticks(xs, [f"{v:g}" for v in xs])
    axes.minorticks_off()
    axes.set_xlabel(x)
    axes.set_ylim(look.reach)


def draw_points(axes: Axes, table: ResultTable, path: str, look: Look) -> None:
    """Draw the seeds of each value of *path*, with the mean and its spread."""
    known = [row for row in table.rows if row.mean is not None]
    for i, row in enumerate(known):
        color = COLORS[i % len(COLORS)]
        axes.plot([i] * len(row.values), list(row.values.values()), "o", color=color, alpha=0.4)
        found = ends(row, look.spread)
        if found is not None:
            axes.plot([i, i], found, color=color)
        axes.plot([i], [_or_nan(row.mean)], "_", color=color, markersize=16, markeredgewidth=2)
        _draw_stars(axes, [(i, row)], color, look)
    names = [_in_lines(r.labels[path]) for r in known]
    axes.set_xticks(range(len(known)), names, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.6, len(known) - 0.4)
    axes.set_ylim(look.reach)


def draw_heat_map(axes: Axes, table: ResultTable, down: str, across: str, look: Look) -> Any:
    """Draw the means of two paths as colours with their digits; return the image."""
    lines = list(dict.fromkeys(row.labels[down] for row in table.rows))
    columns = list(dict.fromkeys(row.labels[across] for row in table.rows))
    places = [(row.labels[down], row.labels[across]) for row in table.rows]
    rows = dict(zip(places, table.rows))
    pairs = [(row.mean, row.half) for row in table.rows]
    texts = dict(zip(places, shown(pairs, table.metric)))
    grid = [[_mean(rows.get((line, c))) for c in columns] for line in lines]
    image = axes.imshow(grid, cmap="cividis", aspect="auto")
    if look.reach is not None:
        image.set_clim(*look.reach)
    middle = sum(image.get_clim()) / 2
    for i, line in enumerate(lines):
        for j, column in enumerate(columns):
            row, text = rows.get((line, column)), texts.get((line, column))
            color = "white" if grid[i][j] < middle else "black"
            star = "*" if row is not None and key_of(row.labels) in look.marked else ""
            said = (text.mean if text else "") or (of_none(row.excluded) if row else "") or "—"
            left = f"\n{tallied(row.excluded.values())}" if row and row.n and row.excluded else ""
            axes.text(j, i, said + star + left, ha="center", va="center", color=color)
    axes.set_xticks(range(len(columns)), columns, rotation=20, ha="right")
    axes.set_yticks(range(len(lines)), lines)
    axes.set_xlabel(across)
    axes.set_ylabel(down)
    axes.grid(visible=False)
    return image


def _draw_band(axes: Axes, rows: Sequence[ResultRow], x: str, color: str, look: Look) -> None:
    found = [(row.coordinates[x], ends(row, look.spread)) for row in rows]
    banded = [(at, of) for at, of in found if of is not None]
    if banded:
        low, high = [of[0] for _, of in banded], [of[1] for _, of in banded]
        at = [place for place, _ in banded]
        axes.fill_between(at, low, high, color=color, alpha=0.15, linewidth=0)


def _draw_stars(
    axes: Axes, places: Sequence[Tuple[Any, ResultRow]], color: str, look: Look
) -> None:
    for at, row in places:
        if key_of(row.labels) in look.marked:
            above: Any = {"xytext": (0, 4), "textcoords": "offset points", "ha": "center"}
            axes.annotate("*", (at, _or_nan(row.mean)), color=color, **above)


def _in_lines(label: str) -> str:
    return textwrap.fill(label, _TICK_CHARACTERS, break_long_words=False, break_on_hyphens=False)


def _series(rows: Sequence[ResultRow], path: str) -> Iterator[Tuple[str, List[ResultRow]]]:
    found: Dict[str, List[ResultRow]] = {}
    for row in rows:
        found.setdefault(row.labels[path], []).append(row)
    yield from found.items()


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _mean(row: Optional[ResultRow]) -> float:
    return _or_nan(None if row is None else row.mean)


def _or_nan(value: Any) -> float:
    return float("nan") if value is None else float(value)
