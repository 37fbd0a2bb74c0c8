"""The numbers along an axis of a plot, in the unit of its metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from normlab.counting import in_bytes, unit_for

if TYPE_CHECKING:
    from matplotlib.axis import Axis


def mark(axis: Axis, metric: str) -> None:
    """Put round numbers of one unit on *axis*, if *metric* is in bytes; its limits are final."""
    if not in_bytes(metric):
        return
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    unit, power = unit_for(axis.get_view_interval())

    class InUnit(MaxNLocator):
        """Ticks that are round in the unit."""

        def tick_values(self, vmin: float, vmax: float) -> Any:
            """Return the ticks between two numbers of bytes."""
            return np.asarray(super().tick_values(vmin / power, vmax / power)) * power

    axis.set_major_locator(InUnit(nbins="auto", steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda count, _: f"{count / power:g} {unit}"))
