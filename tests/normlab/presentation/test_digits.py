"""A mean is shown with the digits that its uncertainty allows and its table needs."""

from __future__ import annotations

from typing import Optional

import pytest

from normlab.presentation.digits import shown


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [
        (0.9, 0.0123, "0.900 ± 0.012"),
        (0.812, 1.3, "0.812 ± 1.3"),
        (812.4, 25.3, "812 ± 25"),
        (0.91236, None, "0.9124"),
        (123456.7, 2300.0, "123457 ± 2300"),
        (3.2e-7, 1e-8, "3.20e-07 ± 1.0e-08"),
        (0.9, 1e-9, "0.900000 ± 1.0e-09"),
        (0.25, 0.0, "0.250 ± 0"),
        (0.0, 0.5, "0.00 ± 0.50"),
        (9.996, 0.2, "10.00 ± 0.20"),
        (-0.0312, 0.4, "-0.0312 ± 0.40"),
        (None, None, ""),
    ],
)
def test_a_single_mean_has_three_digits_or_as_many_as_its_interval_justifies(
    mean: Optional[float], half: Optional[float], text: str
) -> None:
    assert str(shown([(mean, half)])[0]) == text


def test_means_that_differ_look_different_whatever_their_intervals() -> None:
    means = [0.8121, 0.8124, 0.9, 12.5]
    texts = [text.mean for text in shown([(mean, 1.3) for mean in means])]
    assert texts == ["0.8121", "0.8124", "0.9000", "12.5000"]


def test_means_that_differ_only_by_rounding_do_not_add_digits() -> None:
    assert [text.mean for text in shown([(0.1 + 0.2, 0.1), (0.3, 0.1)])] == ["0.300", "0.300"]
