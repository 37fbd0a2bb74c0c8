from typing import Tuple

import pytest
import torch
import torch.nn.functional as F

from normlab.training.losses import cross_entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_equals_torchs_cross_entropy(smoothing: float) -> None:
    logits, y = torch.randn(6, 5), torch.arange(6) % 5
    expected = F.cross_entropy(logits, y, label_smoothing=smoothing)
    torch.testing.assert_close(cross_entropy(logits, y, smoothing), expected)


def test_uniform_predictions_cost_the_logarithm_of_the_classes() -> None:
    loss = cross_entropy(torch.zeros(2, 8), torch.tensor([0, 3]), 0.3)
    torch.testing.assert_close(loss, torch.tensor(8.0).log())


def test_half_precision_logits_give_a_float32_loss() -> None:
    assert cross_entropy(torch.randn(2, 4).bfloat16(), torch.tensor([0, 1])).dtype == torch.float32


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("positions", [(4,), (3, 2)])
def test_a_class_at_every_position_counts_as_a_separate_prediction(
    positions: Tuple[int, ...], smoothing: float
) -> None:
    logits, y = torch.randn(2, 5, *positions), torch.randint(5, (2, *positions))
    expected = F.cross_entropy(logits, y, label_smoothing=smoothing)
    torch.testing.assert_close(cross_entropy(logits, y, smoothing), expected)
