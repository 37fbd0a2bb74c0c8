from __future__ import annotations

from typing import Any, List

import pytest
import torch
from torch import Tensor, nn

from accelerators.cpu import CpuAccelerator
from accelerators.small_updates import lean_convolutions, suit
from normlab.nets import build
from normlab.specs.jobs import JobSpec

_torch: Any = torch._C


def job(batch_size: int, net: str = "preresnet8", **fields: Any) -> JobSpec:
    return JobSpec.model_validate(
        {"model": {"name": net}, "normalizer": "group", "batch_size": batch_size, **fields}
    )


def network(spec: JobSpec) -> nn.Module:
    torch.manual_seed(0)
    return build(spec.model, spec.normalizer, 3, 4, 16)


def updated(spec: JobSpec, model: nn.Module) -> List[Tensor]:
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with CpuAccelerator(1).session(model, spec) as session:
        session.prepare(0.1, 0.0)
        session.train(x, torch.tensor([0, 3]))
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize(
    ("spec", "lean"),
    [
        (job(2), True),
        (job(64), False),
        (job(2, "resnet20"), False),
        (job(2, precision="bfloat16"), False),
    ],
    ids=["small", "large batch", "wide network", "bfloat16"],
)
def test_small_updates_alone_leave_onednn(spec: JobSpec, lean: bool) -> None:
    assert suit(network(spec), spec) is lean


def test_a_network_with_groups_of_channels_keeps_onednn() -> None:
    assert not suit(nn.Sequential(nn.Conv2d(4, 4, 3, groups=4)), job(2))


def test_an_update_is_lean_and_what_comes_after_it_is_not() -> None:
    spec = job(2)
    seen: List[bool] = []
    model = network(spec)
    model.register_forward_pre_hook(lambda *_: seen.append(_torch._get_mkldnn_enabled()))
    before = _torch._get_mkldnn_enabled()
    updated(spec, model)
    assert seen == [False]
    assert _torch._get_mkldnn_enabled() is before


def test_the_switch_is_put_back_after_an_error() -> None:
    before = _torch._get_mkldnn_enabled()
    with pytest.raises(RuntimeError), lean_convolutions(True):
        torch.ones(2) @ torch.ones(3)
    assert _torch._get_mkldnn_enabled() is before


def test_a_lean_update_has_the_same_bits_each_time_and_those_of_onednn_to_rounding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = job(2)
    first, again = (updated(spec, network(spec)) for _ in range(2))
    assert all(map(torch.equal, first, again))
    monkeypatch.setattr("accelerators.cpu.suit", lambda *_: False)
    for ours, theirs in zip(first, updated(spec, network(spec))):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
