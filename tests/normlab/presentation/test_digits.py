"""A mean is shown with the digits that its uncertainty allows and its table needs."""

from __future__ import annotations

import math
from typing import Any, List, Optional

import pytest

from normlab.presentation.digits import around, like, shown


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [
        (0.9, 0.0123, "0.900 ± 0.012"),
        (0.812, 1.3, "0.8 ± 1.3"),
        (0.0775, 0.22, "0.08 ± 0.22"),
        (0.0775, 0.0996, "0.08 ± 0.10"),
        (812.4, 25.3, "812 ± 25"),
        (0.91236, None, "0.9124"),
        (123456.7, 2300.0, "123500 ± 2300"),
        (98.4, 2345.0, "100 ± 2300"),
        (1.234e8, 2e6, "1.234e+08 ± 2.0e+06"),
        (1e-12, 3e-8, "0 ± 3.0e-08"),
        (3.2e-7, 0.5, "0.00 ± 0.50"),
        (3.2e-7, 1e-8, "3.20e-07 ± 1.0e-08"),
        (0.9, 1e-9, "0.900000 ± 1.0e-09"),
        (0.25, 0.0, "0.250 ± 0"),
        (0.0, 0.5, "0.00 ± 0.50"),
        (9.996, 0.2, "10.00 ± 0.20"),
        (-0.0312, 0.4, "-0.03 ± 0.40"),
        (-0.0012, 0.4, "0.00 ± 0.40"),
        (None, None, ""),
    ],
)
def test_a_mean_is_rounded_to_the_second_digit_of_its_half_width(
    mean: Optional[float], half: Optional[float], text: str
) -> None:
    assert str(shown([(mean, half)])[0]) == text


@pytest.mark.parametrize("half", [None, 0.0])
def test_means_without_an_interval_that_differ_look_different(half: Optional[float]) -> None:
    rows: List[Any] = [(0.81211, half), (0.81214, half), (0.9, half), (12.5, 1.3)]
    texts = [text.mean for text in shown(rows)]
    assert texts == ["0.81211", "0.81214", "0.90000", "12.5"]


def test_no_digit_is_shown_that_an_interval_says_nothing_of() -> None:
    texts = [text.mean for text in shown([(mean, 1.3) for mean in (0.8121, 0.8124, 12.5)])]
    assert texts == ["0.8", "0.8", "12.5"]


def test_means_that_differ_only_by_rounding_do_not_add_digits() -> None:
    assert [text.mean for text in shown([(0.1 + 0.2, 0.1), (0.3, 0.1)])] == ["0.30", "0.30"]
    texts = [text.mean for text in shown([(0.1 + 0.2, None), (0.3, None)])]
    assert texts == ["0.3000", "0.3000"]


def test_means_of_bytes_have_the_unit_of_the_largest_of_their_table() -> None:
    rows: List[Any] = [(3.1e8, 1.2e6), (9e5, None), (None, None)]
    texts = shown(rows, "device/memory_peak_bytes")
    assert [str(text) for text in texts] == ["295.6 MiB ± 1.1 MiB", "0.8583 MiB", ""]
    assert str(shown(rows, "train/loss")[0]) == "3.100e+08 ± 1.2e+06"


def test_a_difference_of_bytes_has_the_unit_of_the_values_beside_it() -> None:
    (text,) = shown([(-5e5, 2e5)], "device/memory_bytes:best", beside=[3.1e8, None])
    assert str(text) == "-0.48 MiB ± 0.19 MiB"
    assert (like(text, 3.1e8), around(text, 1.5e6)) == ("295.64 MiB", "1.4 MiB")


def test_a_mean_that_is_not_finite_has_no_unit() -> None:
    assert str(shown([(math.nan, None)], "device/memory_bytes")[0]) == "nan"
