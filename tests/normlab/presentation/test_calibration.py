"""Decisions while seeds are added err as rarely as promised, whatever the differences look like."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy", reason="decisions are made by the service")

from benchmarks.calibration import BEYOND, RARE, SHAPES, allowed, collapses, errors, ever, power
from normlab.presentation.judging import Rule
from normlab.specs.decisions import Decide

SIMULATIONS = 10_000
FIRST = Decide(by=0.01).first_look


@pytest.mark.parametrize("at_most", [FIRST, 64])
@pytest.mark.parametrize("shape", [*SHAPES, *RARE[0.2], "skewness -2.8, gamma"])
def test_at_most_5_percent_of_verdicts_are_false_on_either_side(shape: str, at_most: int) -> None:
    draw = {**SHAPES, **RARE[0.2], **BEYOND}[shape]
    assert max(errors(draw, FIRST, at_most, 1, SIMULATIONS)) <= allowed(SIMULATIONS)


@pytest.mark.parametrize("rarest", [0.3, 0.5])
@pytest.mark.parametrize("at_most", [12, 32])
def test_an_earlier_first_look_is_enough_for_what_strikes_more_often(
    rarest: float, at_most: int
) -> None:
    first = Decide(by=1, at_most=at_most, rarest=rarest).first_look
    shapes = {**RARE[rarest], "skewed": SHAPES["skewness -2, exponential"]}
    for draw in shapes.values():
        assert max(errors(draw, first, at_most, 1, SIMULATIONS)) <= allowed(SIMULATIONS)


def test_a_look_before_that_would_miss_what_strikes_some_seeds() -> None:
    rare = collapses(0.2, spread=0.02)
    assert errors(rare, 6, 64)[0] > 0.2 > 4 * errors(rare, FIRST, 64)[0]


@pytest.mark.parametrize("at_most", [FIRST, 64])
def test_of_normal_differences_no_more_than_the_nominal_share_is_false(at_most: int) -> None:
    assert max(errors(SHAPES["normal"], FIRST, at_most)) <= allowed(SIMULATIONS, 0.025)


@pytest.mark.parametrize("wanted", [0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize(("first", "at_most"), [(6, 6), (6, 8), (10, 12), (16, 16), (16, 64)])
def test_an_effect_of_the_margin_shows_with_the_power_promised(
    first: int, at_most: int, wanted: float
) -> None:
    found = power(Rule(0.01, wanted, at_most), first, SIMULATIONS)
    assert wanted - 0.005 <= found <= wanted + 0.08


@pytest.mark.parametrize("many", [6, 20])
@pytest.mark.parametrize(
    "shape", ["normal", "heavy tails, Student 3", "half of them ties", "skewness -2, exponential"]
)
def test_of_many_comparisons_without_effect_few_families_show_anything(
    shape: str, many: int
) -> None:
    one, _ = errors(SHAPES[shape], FIRST, 64, many, 20_000)
    assert 1 - (1 - one) ** many <= 0.05 + 3 * (0.05 * many / 20_000) ** 0.5


def test_comparisons_with_the_same_first_one_err_no_more_often() -> None:
    results = np.random.default_rng(2).normal(0, 1, (4000, 24, 7))
    found = (results[..., 1:] - results[..., :1]).swapaxes(1, 2)
    shows, _ = ever(found.reshape(-1, 24), 1.0, FIRST, 24, among=6)
    assert shows.reshape(-1, 6).any(axis=1).mean() <= allowed(4000, 0.025)
