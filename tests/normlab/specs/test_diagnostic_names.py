"""A metric's name contains its diagnostic, its measure and its layer."""

from __future__ import annotations

import pytest

from normlab.specs.diagnostics import MetricMeaning, measured


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("power/1.norm1.layer/norm/channel_mean", ("power", "norm/channel_mean", "1.norm1.layer")),
        ("step_size/2.conv1/turn", ("effective_step", "turn", "2.conv1")),
        ("scale_invariance/2.conv1", ("scale_invariance", "", "2.conv1")),
        ("switch/all/var/batch", ("switch_weights", "var/batch", "all")),
        ("group_size/stem", ("group_sizes", "", "stem")),
        ("landscape/loss_low", ("landscape", "loss_low", "")),
        ("batch_statistics/all/std_ratio", ("batch_statistics", "std_ratio", "all")),
        ("regularization/rise_32", ("regularization", "rise_32", "")),
        ("gradient_bias/cosine", ("gradient_bias", "cosine", "")),
        ("ablation/zero/area", ("ablation", "zero/area", "")),
    ],
)
def test_the_metrics_of_each_diagnostic_are_known(metric: str, expected: tuple[str, ...]) -> None:
    assert measured(metric) == MetricMeaning(*expected)


@pytest.mark.parametrize("metric", ["train/loss", "power/stem/norm", "power/stem/norm/other", ""])
def test_other_metrics_are_of_no_diagnostic(metric: str) -> None:
    assert measured(metric) is None
