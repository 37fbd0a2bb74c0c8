"""Curves of a metric as lines of matplotlib, coloured by a field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from normlab.presentation.axis_units import mark

if TYPE_CHECKING:
    import pandas as pd


def draw_courses(curves: pd.DataFrame, values: pd.Series, metric: str, ax: Any = None) -> Any:
    """
    Draw a line for each job of *curves*, and return the axes.

    Args:
        curves: with the columns job, step and value.
        values: the values of the field that colours the lines, by job.
        metric: the name of the axis.
        ax: axes to draw into; None: new ones.
    """
    if ax is None:
        from matplotlib import pyplot  # notebooks show its figures

        _, ax = pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")
    kinds = list(dict.fromkeys(values.astype("string").fillna("none")))
    named = set()
    for job, points in curves.groupby("job", sort=False):
        kind = str(values.astype("string").fillna("none")[job])
        label = None if kind in named else kind
        named.add(kind)
        colour = f"C{kinds.index(kind) % 10}"
        ax.plot(points["step"], points["value"], color=colour, label=label, linewidth=1.25)
    ax.set(xlabel="update", ylabel=metric)
    mark(ax.yaxis, metric)
    if named:
        ax.legend(title=values.name)
    return ax
