from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normlab.ipu_check.trace import check_model, meta_batch


class Triple(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 3

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * 3


class Layer(nn.Module):
    """A 3x3 convolution, followed by *body* on its buffers."""

    def __init__(self, body: Any, buffer: Tensor | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.body = body
        self.register_buffer("seen", torch.zeros(4) if buffer is None else buffer)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, self.conv(x)).mean((2, 3))


def problems(layer: nn.Module) -> str:
    x, y = meta_batch(2, (3, 8, 8))
    return "; ".join(check_model(layer.to("meta"), F.cross_entropy, x, y).problems)


def test_a_plain_network_passes_the_op_check() -> None:
    x, y = meta_batch(2, (3, 8, 8))
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    result = check_model(net.to("meta"), F.cross_entropy, x, y)
    assert result.passes
    assert result.message.startswith("passes the op check of PopTorch 3.4")
    assert "aten::convolution" in result.ops


def test_an_operator_off_the_list_is_named_with_its_module() -> None:
    net = nn.Sequential(nn.Flatten(), Layer2())
    x, y = meta_batch(2, (3, 8, 8))
    found = check_model(net.to("meta"), F.cross_entropy, x, y).problems
    assert "aten::lerp (module 1) is not in PopTorch's op list" in "; ".join(found)


class Layer2(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.lerp(x, x * 2, 0.5) + nn.Parameter(torch.zeros((), device=x.device))


def test_a_custom_backward_is_found_by_its_name() -> None:
    found = problems(Layer(lambda m, y: Triple.apply(y)))
    assert "the custom backward of Triple would be dropped silently" in found


def test_a_buffer_that_is_reassigned_is_refused() -> None:
    def body(layer: Layer, y: Tensor) -> Tensor:
        layer.seen = layer.seen + 1
        return y

    assert "buffer seen is reassigned" in problems(Layer(body))


def test_a_float_buffer_may_change_in_place() -> None:
    def body(layer: Layer, y: Tensor) -> Tensor:
        layer.seen.mul_(0.9).add_(y.detach().mean((0, 2, 3)))
        return y

    assert problems(Layer(body)) == ""


def test_an_integer_buffer_may_not() -> None:
    def body(layer: Layer, y: Tensor) -> Tensor:
        layer.seen.add_(1)
        return y

    found = problems(Layer(body, torch.zeros(1, dtype=torch.int64)))
    assert "buffer seen holds integers" in found


def test_reading_a_value_cannot_be_traced() -> None:
    found = problems(Layer(lambda m, y: y * y.sum().item()))
    assert "cannot be traced" in found
    assert "aten::_local_scalar_dense" in found


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.MaxPool2d(2, return_indices=True), "return_indices"),
        (nn.AvgPool2d(2, padding=1), "padded average pooling"),
        (nn.InstanceNorm2d(3, track_running_stats=True), "running statistics are ignored"),
        (nn.LSTM(3, 3, num_layers=2), "recurrent layers"),
    ],
)
def test_layers_are_refused_for_their_attributes(layer: nn.Module, words: str) -> None:
    from normlab.ipu_check.layers import layer_problems

    assert words in "; ".join(layer_problems(nn.Sequential(layer)))
