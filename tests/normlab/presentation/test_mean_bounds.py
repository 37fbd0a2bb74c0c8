"""Bounds of a mean: Hall's transformation undone, ties and failures counted against it."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy", reason="decisions are made by the service")

from scipy.special import stdtrit

from normlab.presentation.mean_bounds import SKEWNESS, lower, upper, widening


@pytest.mark.parametrize("k", [-4.0, -2.0, -1.0, -0.1])
@pytest.mark.parametrize("n", [3, 16, 64])
def test_the_widening_is_what_halls_transformation_takes_back(k: float, n: int) -> None:
    for quantile in (1.0, 2.0, 5.0, 20.0):
        s = float(widening(quantile, n, k))
        back = s + k * s**2 / 3 + k**2 * s**3 / 27 + k / (6 * n)
        plain = quantile / n**0.5
        assert s == pytest.approx(plain) or back == pytest.approx(plain, rel=1e-9)
        assert s >= plain


def test_it_is_never_less_than_students() -> None:
    assert widening(2.0, 16, 3.0) == pytest.approx(0.5)
    assert widening(20.0, 16, -4.0) == pytest.approx(5.0)
    assert widening(2.0, 10**6, -SKEWNESS) == pytest.approx(0.002, rel=3e-3)


def test_a_symmetric_sample_is_taken_as_skewed_against_the_bound() -> None:
    x = np.linspace(-1, 1, 16)
    student = stdtrit(15, 0.975) * x.std(ddof=1) / 4
    assert lower(x, 0, 0.025) < -1.1 * student
    assert upper(x, 0, 0.025) == pytest.approx(-lower(x, 0, 0.025))


def test_a_long_tail_below_widens_further_and_one_above_does_not() -> None:
    down = np.r_[np.zeros(15), -1.0] + np.linspace(0, 0.01, 16)
    symmetric = np.linspace(-1, 1, 16) * down.std(ddof=1) / np.linspace(-1, 1, 16).std(ddof=1)
    assert lower(down - down.mean(), 0, 0.025) < 1.5 * lower(symmetric, 0, 0.025)
    assert lower(down.mean() - down, 0, 0.025) == pytest.approx(lower(symmetric, 0, 0.025))


def test_a_tested_value_is_part_of_the_steps() -> None:
    x = np.full(16, 0.3)
    assert lower(x, 0, 0.025, tested=0.3) < 0.3 + 1e-12  # all are ties with it
    assert 0.2 < lower(x, 0, 0.025, tested=0.2) < 0.3
    assert lower(x, 0, 0.025, tested=0.0) < lower(x, 0, 0.025, tested=0.2)


def test_a_failed_seed_counts_as_the_worst_one() -> None:
    x = np.linspace(0.04, 0.06, 8)
    assert lower(x, 1, 0.025) == pytest.approx(lower(np.r_[x, -0.06], 0, 0.025))
    assert upper(x, 1, 0.025, 0.1) == pytest.approx(upper(np.r_[x, 0.16], 0, 0.025, 0.1))
