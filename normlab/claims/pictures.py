"""The plot beside a claim's table, of the same kind as in the paper."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Sequence, Tuple

from normlab.claims import gathering
from normlab.claims.gathering import JobSource, Line, best_table, cells, name_of, short
from normlab.claims.verdicts import ClaimVerdict
from normlab.errors import InvalidSpec
from normlab.presentation.intervals import estimate
from normlab.presentation.plots import COLORS, MARKERS, STYLE, draw, save
from normlab.records import ResultRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TERMS = ("channel_mean", "sample_mean", "channel_std", "sample_std")
_PANEL = 3.0  # inches


def draw_claim(verdict: ClaimVerdict, store: JobSource, target: Path) -> Path:
    """
    Draw the claim's picture into *target*.

    table: the table, as by `normlab results --plot`; best: one point per setting, at its best
    value of `best_over`; batches: the same against the samples per statistic; training: metrics
    over the updates; band: the area between two metrics over the updates; ablation: accuracy
    against the share of clamped channels; rises: the rise of the loss against the batch size;
    power: the terms over depth.

    Raises:
        InvalidSpec: there is nothing to draw yet.
    """
    kind = verdict.claim.plot.kind
    if kind == "table":
        return save(verdict.table, target)
    rows = [row for row in cells(verdict, store) if row.values]
    if not rows:
        raise InvalidSpec(f"no job of {verdict.claim.key} has {verdict.claim.metric} yet")
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        figure = _DRAW[kind](verdict, store, rows)
        if verdict.claim.plot.title:
            figure.suptitle(verdict.claim.plot.title, fontsize=10)
        figure.savefig(target, bbox_inches="tight")
    return target


def _panels(count: int) -> Tuple[Figure, List[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(count, 3)
    lines = -(-count // columns)
    size = (1.2 + _PANEL * columns, 0.5 + 2.6 * lines)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
    axes = list(grid.flat)
    for empty in axes[count:]:
        empty.set_visible(False)
    return figure, axes[:count]


def _band(axes: Axes, line: Line, label: str, i: int) -> None:
    """Draw the mean over seeds with its 95 % interval."""
    xs, seeds = line
    if not xs:
        return
    e = [estimate(list(values)) for values in zip(*seeds)]
    color = COLORS[i % len(COLORS)]
    axes.plot(xs, [p.mean for p in e], color=color, label=label)
    if len(seeds) > 1:
        low = [p.mean if p.low is None else p.low for p in e]
        high = [p.mean if p.high is None else p.high for p in e]
        axes.fill_between(xs, low, high, color=color, alpha=0.15, linewidth=0)


def _best(verdict: ClaimVerdict, store: JobSource, rows: Sequence[ResultRow]) -> Figure:
    return draw(best_table(verdict, rows))


def _batches(verdict: ClaimVerdict, store: JobSource, rows: Sequence[ResultRow]) -> Figure:
    """Accuracy against the samples of a statistic: a curve for batch norm, levels for others."""
    figure, (axes,) = _panels(1)
    found = [row for row in best_table(verdict, rows).rows if row.mean is not None]
    over = {row.labels["setting"]: _samples(row.coordinates) for row in found}
    line = sorted((over[r.labels["setting"]], r) for r in found if over[r.labels["setting"]])
    xs = [x for x, _ in line]
    means, low, high = zip(*(_interval(row) for _, row in line))
    axes.plot(xs, means, marker="o", color=COLORS[0], label="batch")
    axes.fill_between(xs, low, high, color=COLORS[0], alpha=0.15, linewidth=0)
    level = [row for row in found if not over[row.labels["setting"]]]
    for i, row in enumerate(level, 1):
        mean, below, above = _interval(row)
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        label = f"{row.labels['setting']} (no batch)"
        axes.plot(xs, [mean] * len(xs), color=color, marker=marker, ls="--", label=label)
        axes.fill_between(xs, below, above, color=color, alpha=0.1, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(xs, [f"{x:g}" for x in xs])
    axes.minorticks_off()
    axes.set_xlabel("samples per statistic")
    axes.set_ylabel(verdict.claim.metric)
    axes.legend()
    return figure


def _samples(coordinates: Dict[str, Any]) -> int:
    """Return the number of samples in batch norm's statistics; 0 for other kinds."""
    normalizer = coordinates["normalizer"]
    options: Dict[str, Any] = (
        {"kind": normalizer} if isinstance(normalizer, str) else dict(normalizer)
    )
    if options.get("kind") != "batch":
        return 0
    return int(options.get("virtual_batch_size") or coordinates.get("batch_size", 32))


def _interval(row: ResultRow) -> Tuple[float, float, float]:
    mean = row.mean or 0.0
    return mean, mean if row.low is None else row.low, mean if row.high is None else row.high


def _training(verdict: ClaimVerdict, store: JobSource, rows: Sequence[ResultRow]) -> Figure:
    metrics = verdict.claim.plot.metrics or (verdict.claim.metric,)
    figure, panels = _panels(len(metrics))
    for i, row in enumerate(rows):
        found = gathering.lines(store, row, metrics)
        for axes, metric in zip(panels, metrics):
            _band(axes, found.get(metric, ([], [])), name_of(row), i)
    for axes, metric in zip(panels, metrics):
        axes.set_title(metric, fontsize=9)
        axes.set_xlabel("updates")
    panels[0].legend()
    return figure


def _edges(verdict: ClaimVerdict, store: JobSource, rows: Sequence[ResultRow]) -> Figure:
    """Bands between two metrics, averaged over seeds: one panel per value of the second path."""
    low, high = verdict.claim.plot.metrics
    path = verdict.claim.group_by[-1]
    values = list(dict.fromkeys(row.labels[path] for row in rows))
    figure, panels = _panels(len(values))
    for axes, value in zip(panels, values):
        for i, row in enumerate(r for r in rows if r.labels[path] == value):
            found = gathering.lines(store, row, (low, high))
            xs, color = found[low][0], COLORS[i % len(COLORS)]
            bottom, top = ([_mean(v) for v in zip(*found[m][1])] for m in (low, high))
            axes.fill_between(xs, bottom, top, color=color, alpha=0.3, label=name_of(row, path))
            axes.plot(xs, bottom, color=color)
            axes.plot(xs, top, color=color)
        axes.set_title(f"{path} {value}", fontsize=9)
        axes.set_xlabel("updates")
        axes.set_yscale("log")
    panels[0].legend()
    return figure


def _ablation(verdict: ClaimVerdict, store: JobSource, rows: Sequence[ResultRow]) -> Figure:
    figure, panels = _panels(2)
    for axes, clamp in zip(panels, ("zero", "mean")):
        for i, row in enumerate(rows):
            _band(axes, gathering.ablations(store, row, clamp), name_of(row), i)
        axes.set_title(f"clamped to {clamp}", fontsize=9)
        axes.set_xlabel("share of channels")
    panels[0].set_ylabel("accuracy")
    panels[0].legend()
    return figure


def _rises(verdict: ClaimVerdict, store: JobSource, rows: Sequence[ResultRow]) -> Figure:
    figure, (axes,) = _panels(1)
    drawn: List[float] = []
    for i, row in enumerate(rows):
        found = gathering.last_values(store, row, "regularization/rise_")
        sizes = sorted(int(m) for m in found)
        means = [_mean(found[str(m)]) for m in sizes]
        drawn += means
        axes.plot(sizes, means, marker=MARKERS[i], color=COLORS[i], label=name_of(row))
        if i == 0 and means and means[0] > 0:
            guide = [means[0] * sizes[0] / m for m in sizes]
            axes.plot(sizes, guide, color="black", ls=":", label="1 / M")
            axes.set_xticks(sizes, [str(m) for m in sizes])
    axes.set_xscale("log", base=2)
    if max(drawn, default=0.0) > 0:  # otherwise the logarithm is undefined
        axes.set_yscale("log")
    axes.minorticks_off()
    axes.set_xlabel("samples per statistic, M")
    axes.set_ylabel("rise of the loss")
    axes.legend()
    return figure


def _power(verdict: ClaimVerdict, store: JobSource, rows: Sequence[ResultRow]) -> Figure:
    """The four power terms stacked over depth: one panel per cell, means over seeds."""
    figure, panels = _panels(len(rows))
    for axes, row in zip(panels, rows):
        found = gathering.last_values(store, row, "power/")
        sites = sorted({name[: -len("/norm/total")] for name in found if "/norm/total" in name},
                       key=_natural)  # fmt: skip
        terms = [[_mean(found.get(f"{s}/norm/{t}", [])) for s in sites] for t in _TERMS]
        names = [t.replace("_", " ") for t in _TERMS]
        axes.stackplot(range(1, len(sites) + 1), *terms, labels=names, colors=COLORS[:4], alpha=0.8)
        axes.set_title(short(row.labels["normalizer"]), fontsize=9)
        axes.set_xlabel("normalizer, from the input")
    panels[0].set_ylabel("power")
    panels[0].legend(loc="lower left", frameon=True)
    return figure


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _natural(name: str) -> List[Any]:
    """Sort `2.norm1` before `10.norm1`."""
    parts: List[str] = re.split(r"(\d+)", name)
    return [(int(p), "") if p.isdigit() else (-1, p) for p in parts]


_DRAW: Dict[str, Callable[[ClaimVerdict, JobSource, Sequence[ResultRow]], Figure]] = {
    "best": _best,
    "batches": _batches,
    "training": _training,
    "band": _edges,
    "ablation": _ablation,
    "rises": _rises,
    "power": _power,
}
