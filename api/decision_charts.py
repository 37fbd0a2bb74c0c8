"""The running intervals of a study that decides, as shapes of a picture that the page draws."""

from __future__ import annotations

from dataclasses import dataclass

from normlab.records.decisions import DecisionRow, DecisionTable

WIDTH, HEIGHT = 320, 120
_LEFT, _RIGHT, _TOP, _BOTTOM = 8, 8, 8, 20


@dataclass(frozen=True)
class Bar:
    """The interval of one look, in pixels."""

    x: float
    top: float
    bottom: float
    mean: float
    seeds: int


@dataclass(frozen=True)
class Chart:
    """The looks of one comparison, from left to right, and the heights of 0 and of the margin."""

    bars: list[Bar]
    zero: float
    margin: float
    width: int = WIDTH
    height: int = HEIGHT


def chart(table: DecisionTable, row: DecisionRow) -> Chart | None:
    """Lay out the looks of *row*; None while none of them has an interval."""
    looks = [(k.seeds, k.low, k.mean, k.high) for k in row.looks]
    whole = [(n, a, m, b) for n, a, m, b in looks if a is not None and m is not None
             and b is not None]  # fmt: skip
    if not whole:
        return None
    # The first intervals are often far wider than the others, so the later ones decide the scale.
    shown = whole[len(whole) // 2 :]
    low = min(0.0, *(a for _, a, _, _ in shown))
    high = max(table.by, *(b for _, _, _, b in shown))

    def y(value: float) -> float:
        inside = min(max(value, low), high)
        return round(_TOP + (high - inside) / (high - low) * (HEIGHT - _TOP - _BOTTOM), 1)

    def x(i: int) -> float:
        return round(_LEFT + (i + 0.5) / len(whole) * (WIDTH - _LEFT - _RIGHT), 1)

    bars = [Bar(x(i), y(b), y(a), y(m), n) for i, (n, a, m, b) in enumerate(whole)]
    return Chart(bars, y(0.0), y(table.by))
