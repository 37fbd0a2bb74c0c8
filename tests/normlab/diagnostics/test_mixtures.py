"""The choices of mixing normalizers are read exactly from their parameters."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from normlab.diagnostics.moment import Moment
from normlab.diagnostics.observers import GroupSizeObserver, SwitchObserver
from normlab.norms.meta import MetaNorm
from normlab.norms.switchable import SwitchableNorm


def seen(observer: GroupSizeObserver | SwitchObserver, model: nn.Module) -> dict[str, float]:
    found: dict[str, float] = {}
    nothing = torch.zeros(0)
    observer.after_epoch(
        Moment(step=1, steps_per_epoch=1, learning_rate=0.1, batch_size=1, model=model,
               loss=lambda out, y: out.sum(), train=lambda: (nothing, nothing),
               test=lambda n: (nothing, nothing), metric=found.__setitem__, record=lambda d: None)
    )  # fmt: skip
    return found


def test_switch_weights_are_the_softmax_of_the_logits() -> None:
    first, second = SwitchableNorm(4), SwitchableNorm(4)
    with torch.no_grad():
        first.mean_weight.copy_(torch.tensor([0.0, 0.0, math.log(2)]))  # 1/4, 1/4, 1/2
    found = seen(SwitchObserver(), nn.Sequential(first, second))
    assert found["switch/0/mean/instance"] == pytest.approx(1 / 4)
    assert found["switch/0/mean/batch"] == found["switch/0/mean/largest"] == pytest.approx(1 / 2)
    assert found["switch/1/var/largest"] == pytest.approx(1 / 3)  # equal from the beginning
    assert found["switch/all/mean/batch"] == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_a_group_has_two_channels_for_each_open_gate() -> None:
    norm = MetaNorm(16, channels="learned")
    assert norm.channel_gates is not None
    with torch.no_grad():
        norm.channel_gates.copy_(torch.tensor([1.0, -1.0, 1.0, 1.0]))
    assert seen(GroupSizeObserver(), nn.Sequential(norm)) == {"group_size/0": 8.0}
    assert int(norm.channel_matrix().sum(1)[0]) == 8  # and its matrix agrees


def test_fixed_groups_are_not_reported() -> None:
    assert seen(GroupSizeObserver(), nn.Sequential(MetaNorm(16, channels="groups"))) == {}
