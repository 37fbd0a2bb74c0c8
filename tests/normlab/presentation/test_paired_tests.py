from __future__ import annotations

import pytest

from normlab.presentation.paired_tests import holm, paired_t


def test_the_p_of_a_paired_t_test_is_that_of_its_formula() -> None:
    # mean 2, sd 1, n = 3: t = 3.4641 with 2 degrees of freedom
    assert paired_t([1.0, 2.0, 3.0]) == pytest.approx(0.0742, abs=1e-4)
    assert paired_t([-1.0, -2.0, -3.0]) == paired_t([1.0, 2.0, 3.0])


@pytest.mark.parametrize("differences", [[], [0.3], [0.3, 0.3, 0.3]])
def test_there_is_no_test_without_a_spread(differences: list[float]) -> None:
    assert paired_t(differences) is None


def test_holm_multiplies_each_by_those_not_smaller_and_keeps_the_order() -> None:
    assert holm([0.01, 0.04, None, 0.03]) == pytest.approx([0.03, 0.06, None, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
