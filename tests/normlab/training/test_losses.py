from typing import Tuple

import pytest
import torch
import torch.nn.functional as F

from normlab.training.losses import binary_cross_entropy, cross_entropy


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


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_mixed_targets_cost_the_mean_of_their_classes(smoothing: float) -> None:
    logits, y = torch.randn(6, 5), torch.rand(6, 5).softmax(1)
    expected = F.cross_entropy(logits, y, label_smoothing=smoothing)
    torch.testing.assert_close(cross_entropy(logits, y, smoothing), expected)
    hard = torch.arange(6) % 5
    soft = F.one_hot(hard, 5).float()
    for loss in (cross_entropy, binary_cross_entropy):
        torch.testing.assert_close(loss(logits, soft, smoothing), loss(logits, hard, smoothing))


def test_the_binary_loss_of_smoothed_targets_matches_the_formula() -> None:
    z, y = torch.randn(6, 5).double(), torch.arange(6) % 5
    t = 0.9 * F.one_hot(y, 5).double() + 0.1 / 5
    p = z.sigmoid()
    expected = -(t * p.log() + (1 - t) * (1 - p).log()).mean()
    torch.testing.assert_close(
        binary_cross_entropy(z, y, 0.1).double(), expected, rtol=1e-6, atol=0
    )


def test_a_threshold_makes_targets_zero_or_one() -> None:
    z, y = torch.randn(2, 3), torch.tensor([[0.7, 0.3, 0.0], [0.9, 0.1, 0.0]])
    ones = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    found = binary_cross_entropy(z, y, threshold=0.2)
    torch.testing.assert_close(found, F.binary_cross_entropy_with_logits(z, ones))


def test_the_binary_loss_takes_a_class_at_every_position() -> None:
    logits, y = torch.randn(2, 5, 3, 2), torch.randint(5, (2, 3, 2))
    flat = logits.permute(0, 2, 3, 1).reshape(-1, 5)
    expected = binary_cross_entropy(flat, y.flatten())
    torch.testing.assert_close(binary_cross_entropy(logits, y), expected)
