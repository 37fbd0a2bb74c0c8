"""Levels of repeated looks, against published boundaries."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("scipy", reason="decisions are made by the service")

from scipy.stats import norm

from normlab.presentation.spending import crossing_levels, levels

FIFTHS = (0.2, 0.4, 0.6, 0.8, 1.0)


def test_boundaries_agree_with_those_of_lan_and_demets() -> None:
    # O'Brien-Fleming and Pocock spending, five equal looks, 2.5 % one-sided: R's `ldbounds`
    obrien = tuple(2 * norm.sf(norm.isf(0.0125) / math.sqrt(t)) for t in FIFTHS)
    pocock = tuple(0.025 * math.log(1 + (math.e - 1) * t) for t in FIFTHS)
    found = norm.isf(crossing_levels(FIFTHS, obrien)), norm.isf(crossing_levels(FIFTHS, pocock))
    np.testing.assert_allclose(found[0], [4.8769, 3.3569, 2.6803, 2.2898, 2.0310], atol=2e-4)
    np.testing.assert_allclose(found[1], [2.4380, 2.4268, 2.4101, 2.3966, 2.3859], atol=2e-4)


def test_one_look_tests_at_the_whole_level() -> None:
    assert levels((1.0,), 0.025) == pytest.approx((0.025,), rel=1e-6)


def test_a_look_depends_on_no_later_one() -> None:
    assert levels((0.1, 0.3), 0.025) == levels((0.1, 0.3, 0.7, 1.0), 0.025)[:2]


def test_a_smaller_level_tests_each_look_more_strictly() -> None:
    one, many = levels(FIFTHS, 0.025), levels(FIFTHS, 0.025 / 12)
    assert all(strict < loose for strict, loose in zip(many, one))
