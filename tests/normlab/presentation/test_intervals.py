"""Intervals over seeds have the stated coverage."""

from __future__ import annotations

import numpy as np
import pytest

from normlab.errors import InvalidSpec
from normlab.presentation.intervals import Method, estimate, paired_difference


def test_the_t_interval_agrees_with_one_by_hand() -> None:
    found = estimate([1.0, 2.0, 3.0])  # sd 1, t(2, .975) = 4.302653
    assert (found.n, found.mean, found.sd) == (3, 2.0, 1.0)
    assert found.low == pytest.approx(2 - 4.302653 / 3**0.5, abs=1e-6)
    assert found.high == pytest.approx(2 + 4.302653 / 3**0.5, abs=1e-6)


def test_one_seed_has_a_mean_and_no_interval() -> None:
    found = estimate([0.5])
    assert (found.mean, found.sd, found.low, found.high) == (0.5, None, None, None)


@pytest.mark.parametrize(("method", "n", "least"), [("t", 4, 0.94), ("bootstrap", 30, 0.90)])
def test_an_interval_covers_as_often_as_stated(method: Method, n: int, least: float) -> None:
    rng = np.random.default_rng(0)
    rounds = 2000 if method == "t" else 200
    hits = 0
    for _ in range(rounds):
        found = estimate(rng.normal(size=n).tolist(), method)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 0 <= found.high
    assert least <= hits / rounds <= 0.98


def test_a_bootstrap_is_the_same_each_time() -> None:
    values = [0.1, 0.4, 0.2, 0.9]
    assert estimate(values, "bootstrap") == estimate(values, "bootstrap")


def test_a_paired_difference_removes_what_the_seeds_share() -> None:
    a = {seed: seed + 1.0 for seed in range(5)}
    b = {seed: float(seed) for seed in range(1, 6)}
    found = paired_difference(a, b)
    assert (found.n, found.mean, found.low, found.high) == (4, 1.0, 1.0, 1.0)


def test_without_common_seeds_there_is_nothing_to_pair() -> None:
    with pytest.raises(InvalidSpec, match="no seed in common"):
        paired_difference({0: 1.0}, {1: 1.0})


@pytest.mark.parametrize(("values", "confidence"), [([], 0.95), ([1.0], 0.0), ([1.0], 1.0)])
def test_nothing_to_estimate_is_refused(values: list[float], confidence: float) -> None:
    with pytest.raises(InvalidSpec):
        estimate(values, confidence=confidence)
