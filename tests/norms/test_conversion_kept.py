"""What `convert` keeps: the parameters themselves, device, hooks, options, training."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from normlab.norms.conversion import convert
from normlab.specs.normalizers import BY_KIND


class Bottleneck(nn.Module):
    """As in torchvision: one in-place ReLU for all, and an in-place sum."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c)
        self.conv2, self.bn2 = nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        y: Tensor = self.relu(out)
        return y


@pytest.mark.parametrize("kind", ["batch", "layer", "instance", "group", "weight", "none"])
def test_a_resnet_that_works_in_place_trains(kind: str) -> None:
    torch.manual_seed(0)
    net: nn.Module = nn.Sequential(
        nn.Conv2d(3, 8, 3), Bottleneck(8), nn.Flatten(), nn.Linear(288, 2)
    )
    net = convert(net, kind)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    x, y = torch.randn(16, 3, 8, 8), torch.arange(16) % 2
    losses = []
    for _ in range(10):
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("kind", list(BY_KIND))
def test_a_model_on_the_meta_device_stays_there(kind: str) -> None:
    layers = [nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.LayerNorm([8, 4, 4]), nn.GroupNorm(2, 8)]
    net = nn.Sequential(*layers, nn.InstanceNorm2d(8)).to("meta")
    convert(net, kind)
    assert {t.device.type for t in (*net.parameters(), *net.buffers())} == {"meta"}


def test_a_layer_without_tensors_takes_dtype_and_device_of_the_model() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.InstanceNorm2d(8)).double().to("meta")
    convert(net, {"kind": "batch", "affine": True})
    assert (net[1].weight.dtype, net[1].running_mean.device.type) == (torch.float64, "meta")


def test_statistics_keep_their_own_dtype_and_device() -> None:
    norm = nn.BatchNorm2d(8)
    norm.running_mean += 1 / 3
    norm.weight.data, norm.bias.data = norm.weight.data.bfloat16(), norm.bias.data.bfloat16()
    new: Any = convert(norm, "batch")
    assert (new.weight.dtype, new.running_mean.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(new.running_mean, norm.running_mean)


def test_parameters_are_the_same_objects_so_ties_and_optimizers_stay() -> None:
    net = nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.LayerNorm(4))
    net[2].weight = net[0].weight
    before = list(net.parameters())
    convert(net, "group")
    assert net[0].weight is net[2].weight
    assert all(a is b for a, b in zip(net.parameters(), before))


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(4), nn.LayerNorm(5)])
def test_hooks_see_the_new_layer_and_can_still_be_removed(norm: nn.Module) -> None:
    seen: list[str] = []
    net = nn.Sequential(copy.deepcopy(norm))
    handles = [
        net[0].register_forward_hook(lambda m, x, y: seen.append(type(m).__name__)),
        net[0].register_forward_pre_hook(lambda m, kw, x: None, with_kwargs=True),
        net[0].register_full_backward_hook(lambda m, g, h: seen.append("backward")),
    ]
    convert(net, "layer")
    x = torch.randn(2, 4, 5, 5, requires_grad=True)
    net(x).sum().backward()
    assert seen == [type(net[0]).__name__, "backward"]
    for handle in handles:
        handle.remove()
    net(x)
    assert len(seen) == 2


def test_groups_of_a_group_norm_stay_unless_they_are_set() -> None:
    net = nn.Sequential(nn.GroupNorm(2, 8), nn.BatchNorm2d(8))
    convert(net, "group")
    assert (net[0].groups, net[1].groups) == (2, 4)
    assert convert(nn.GroupNorm(2, 8), {"kind": "group", "groups": 8}).groups == 8


def test_a_momentum_of_none_still_averages_all_batches() -> None:
    torch.manual_seed(0)
    old = nn.BatchNorm2d(4, momentum=None)
    for _ in range(3):
        old(torch.randn(2, 4, 3, 3))
    new = convert(copy.deepcopy(old), "batch")
    x = torch.randn(2, 4, 3, 3)
    new(x), old(x)
    torch.testing.assert_close(new.running_mean, old.running_mean)
