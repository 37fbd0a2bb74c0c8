"""The priors hold for independent values, and feature maps deviate from them as expected."""

from __future__ import annotations

import pytest
import torch

from normlab.diagnostics.batch_statistics import BatchScatter, BatchStatisticsMeter
from normlab.errors import InvalidSpec


def measured(draw: object, batches: int = 400) -> tuple[float, float, float]:
    torch.manual_seed(0)
    meter = BatchStatisticsMeter()
    for _ in range(batches):
        meter.update(draw())
    found = meter.statistics()
    return found.mean_ratio, found.std_ratio, found.effective_share


def test_independent_gaussians_vary_as_the_priors_predict() -> None:
    mean, std, share = measured(lambda: torch.randn(32, 40))
    assert mean == pytest.approx(1, abs=0.06)
    assert std == pytest.approx(1, abs=0.06)
    assert share == pytest.approx(1, abs=0.06)


def test_exponential_deviations_vary_less_than_their_prior_at_small_batches() -> None:
    mean, std, _ = measured(lambda: torch.empty(8, 200).exponential_())
    assert mean == pytest.approx(1, abs=0.1)
    assert std == pytest.approx(0.61, abs=0.08)


def test_positions_that_repeat_count_once() -> None:
    def four_times() -> torch.Tensor:
        return torch.randn(16, 40, 1, 1).expand(16, 40, 2, 2)

    mean, _, share = measured(four_times)
    assert mean == pytest.approx(4, abs=0.3)
    assert share == pytest.approx(0.25, abs=0.02)


def test_quarters_of_a_batch_vary_four_times_as_much_even_if_positions_repeat() -> None:
    torch.manual_seed(0)
    scatter = BatchScatter(32)
    for _ in range(400):
        scatter.update(torch.randn(32, 40, 1, 1).expand(32, 40, 2, 2))
    found = scatter.found()
    assert found["effective_share"] == pytest.approx(0.25, abs=0.02)
    assert found["mean_exponent"] == pytest.approx(-1, abs=0.05)
    assert found["std_exponent"] == pytest.approx(-1, abs=0.06)


def test_a_part_that_all_samples_share_does_not_average_out() -> None:
    torch.manual_seed(0)
    scatter = BatchScatter(16)
    for _ in range(400):
        scatter.update(torch.randn(1, 20) + 0.01 * torch.randn(16, 20))
    assert scatter.found()["mean_exponent"] == pytest.approx(0, abs=0.01)


def test_a_batch_below_eight_has_no_quarters() -> None:
    scatter = BatchScatter(7)
    for _ in range(2):
        scatter.update(torch.randn(7, 3))
    assert set(scatter.found()) == {"mean_ratio", "std_ratio", "effective_share"}


def test_too_few_batches_or_another_shape_are_refused() -> None:
    meter = BatchStatisticsMeter()
    meter.update(torch.randn(4, 3))
    with pytest.raises(InvalidSpec, match="at least 2"):
        meter.statistics()
    with pytest.raises(InvalidSpec, match="the first batch had 4"):
        meter.update(torch.randn(5, 3))
