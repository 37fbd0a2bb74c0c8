"""
`python -m benchmarks.calibration`: how often decisions err, by simulation.

Each simulation adds seeds up to the limit and takes the same looks as a study. It counts how often
any look *shows* although there is no effect, or *contradicts* although there is an effect of the
size in question. The tests use the same simulations with fewer draws.
"""

from __future__ import annotations

import math
import sys
from typing import Any, Callable, Dict, List, Tuple

import numpy as np

from benchmarks.command import at_least_one, parser_of, show
from normlab.presentation.deciding import ONE_SIDED, largest_sd, level_of, sizes
from normlab.presentation.judging import Rule
from normlab.presentation.mean_bounds import lower, upper
from normlab.specs.decisions import Decide

Draw = Callable[[np.random.Generator, Tuple[int, int]], np.ndarray]
LIMIT = 0.05


def collapses(share: float, spread: float = 0.0) -> Draw:
    """Make differences with mean 0 that are good except for a *share* of the seeds."""

    def draw(r: np.random.Generator, shape: Tuple[int, int]) -> np.ndarray:
        struck = r.random(shape) < share
        return np.where(struck, -(1 - share) / share, 1.0) + spread * r.normal(0, 1, shape)

    return draw


def accuracies(a: Tuple[float, float], b: Tuple[float, float], samples: int = 0) -> Draw:
    """Make centred differences of two accuracies: logistic functions of normal values."""

    def accuracy(z: np.ndarray, side: Tuple[float, float]) -> np.ndarray:
        found: np.ndarray = 1 / (1 + np.exp(-(side[0] + side[1] * z)))
        return np.round(found * samples) / samples if samples else found

    def draw(r: np.random.Generator, shape: Tuple[int, int]) -> np.ndarray:
        z = np.random.default_rng(7).normal(0, 1, 400_000)
        mean = accuracy(z, a).mean() - accuracy(z, b).mean()
        found = accuracy(r.normal(0, 1, shape), a) - accuracy(r.normal(0, 1, shape), b)
        return found - mean

    return draw


SHAPES: Dict[str, Draw] = {
    "normal": lambda r, s: r.normal(0, 1, s),
    "heavy tails, Laplace": lambda r, s: r.laplace(0, 1, s),
    "heavy tails, Student 3": lambda r, s: r.standard_t(3, s),
    "difference of two lognormal": lambda r, s: r.lognormal(0, 1, s) - r.lognormal(0, 1, s),
    "skewness -1": lambda r, s: 4 - r.gamma(4, 1, s),
    "skewness -1.75, lognormal": lambda r, s: math.exp(0.125) - r.lognormal(0, 0.5, s),
    "skewness -2, exponential": lambda r, s: 1 - r.exponential(1, s),
    "skewness +2, exponential": lambda r, s: r.exponential(1, s) - 1,
    "half of them ties": lambda r, s: r.choice([-1.0, 0, 1], s, p=[0.25, 0.5, 0.25]),
    "nine in ten ties": lambda r, s: r.choice([-1.0, 0, 1], s, p=[0.05, 0.9, 0.05]),
    "rounded to half a deviation": lambda r, s: np.round(r.normal(0, 2, s)),
    "rounded to two deviations": lambda r, s: np.round(r.normal(0, 0.5, s)),
    "counts of few errors": lambda r, s: 1.0 - r.poisson(1.0, s),
    "accuracies of .8 and .8, one ten times as spread": accuracies((1.4, 1.0), (1.4, 0.1)),
    "accuracies near 1, spread": accuracies((3.0, 1.5), (2.5, 0.3)),
    "accuracies near 1 of 200 images": accuracies((4.0, 0.8), (4.0, 0.2), samples=200),
    "accuracies of .5, very spread": accuracies((0.0, 3.0), (0.0, 1.0)),
    "two values, even": collapses(0.5),
}  # fmt: skip
"""Differences with mean 0. If there is a long tail, it is on the bad side."""

RARE: Dict[float, Dict[str, Draw]] = {
    share: {
        f"collapses, {share:g} of the seeds, spread {spread:g}": collapses(share, spread)
        for spread in (0.0, 0.02, 0.3, 1.0)
    }
    for share in (0.2, 0.3, 0.5)
}
"""The same with a failure in a share of the seeds, for which `rarest` is meant."""

BEYOND: Dict[str, Draw] = {
    "skewness -2.8, gamma": lambda r, s: 0.5 - r.gamma(0.5, 1, s),
    "skewness -6, lognormal": lambda r, s: math.exp(0.5) - r.lognormal(0, 1, s),
}
"""More skewed than the cases with a promised error rate."""


def ever(
    differences: np.ndarray, by: float, first: int, at_most: int, among: int = 1
) -> Tuple[np.ndarray, np.ndarray]:
    """Return in which simulations any look shows, and in which any contradicts; all looks run."""
    shows = np.zeros(len(differences), dtype=bool)
    contradicts = shows.copy()
    looks = sizes(first, at_most)
    for i, n in enumerate(looks, 1):
        level = level_of(looks[:i], at_most, among)
        shows |= lower(differences[:, :n], 0, level) > 0
        contradicts |= upper(differences[:, :n], 0, level, by) < by
    return shows, contradicts


def errors(
    draw: Draw, first: int, at_most: int, among: int = 1, simulations: int = 10_000
) -> Tuple[float, float]:
    """Return the shares of false *shows* without effect, and of false *contradicts* at effect 1."""
    x = draw(np.random.default_rng(1), (simulations, at_most))
    shows, _ = ever(x, 1.0, first, at_most, among)
    _, contradicts = ever(1.0 - x, 1.0, first, at_most, among)
    return float(shows.mean()), float(contradicts.mean())


def power(rule: Rule, first: int, simulations: int = 10_000) -> float:
    """Return how often an effect of *by* shows at `largest_sd`, if the first verdict is final."""
    looks = sizes(first, rule.at_most)
    sd = largest_sd(looks, rule, 1)
    x = np.random.default_rng(2).normal(rule.by, sd, (simulations, rule.at_most))
    shows = np.zeros(simulations, dtype=bool)
    open_ = ~shows
    for i, n in enumerate(looks, 1):
        level = level_of(looks[:i], rule.at_most, 1)
        found = open_ & (lower(x[:, :n], 0, level) > 0)
        shows |= found
        open_ &= ~found & ~(upper(x[:, :n], 0, level, rule.by) < rule.by)
    return float(shows.mean())


def main() -> int:
    """Simulate, print the tables, and return 1 if more verdicts are false than promised."""
    parser = parser_of(__doc__)
    text = "simulated studies of each kind (default: %(default)s); fewer are faster and less exact"
    parser.add_argument("--simulations", type=at_least_one, default=40_000, help=text)
    simulations: int = parser.parse_args().simulations
    promised = Decide(by=1.0).first_look
    rows: List[Dict[str, Any]] = []
    broken = False
    for rarest in RARE:
        first = Decide(by=1.0, at_most=1000, rarest=rarest).first_look
        rare = {name: d for share, of in RARE.items() if share >= rarest for name, d in of.items()}
        for name, draw in {**SHAPES, **rare, **BEYOND}.items():
            row: Dict[str, Any] = {"first look": first, "differences": name}
            worst = 0.0
            for at_most in (16, 32, 64, 128):
                found = max(errors(draw, first, at_most, simulations=simulations))
                row[f"at most {at_most}"] = 100 * found
                worst = max(worst, found)
            broken |= first == promised and name not in BEYOND and worst > allowed(simulations)
            rows.append(row)
    show("calibration", rows, "percent of false verdicts on the worse side, by the limit of seeds")
    _show_families(simulations)
    _show_power(simulations)
    return 1 if broken else 0


def allowed(simulations: int, promised: float = LIMIT) -> float:
    """Return *promised* plus three standard errors of that many simulations."""
    return promised + 3 * (promised * (1 - promised) / simulations) ** 0.5


def _show_families(simulations: int) -> None:
    rows = []
    for name, draw in {**SHAPES, **BEYOND}.items():
        row: Dict[str, Any] = {"differences": name}
        for many in (1, 6, 20):  # independent comparisons, the worst case
            one, _ = errors(draw, 16, 64, many, simulations)
            row[f"{many} comparisons"] = 100 * (1 - (1 - one) ** many)
        rows.append(row)
    show("families", rows, "percent of families with any false *shows*, 16 to 64 seeds")


def _show_power(simulations: int) -> None:
    rows = []
    for first, at_most in ((6, 6), (6, 12), (16, 16), (16, 32), (16, 64), (16, 256)):
        row: Dict[str, Any] = {"first look": first, "at most": at_most}
        for wanted in (0.5, 0.8, 0.9, 0.95):
            row[f"{wanted:g}"] = power(Rule(1.0, wanted, at_most), first, simulations)
        rows.append(row)
    show("power", rows, f"found, of normal differences at the largest deviation ({ONE_SIDED=})")


if __name__ == "__main__":
    sys.exit(main())
