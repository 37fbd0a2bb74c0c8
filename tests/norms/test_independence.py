"""Batch-independent kinds give the same result for a single sample, in every form."""

from __future__ import annotations

from typing import Any, Dict

import pytest
import torch
from torch import Tensor, nn

from normlab.norms import make

SPECS: Dict[str, Dict[str, Any]] = {
    "layer": {"kind": "layer"},
    "group": {"kind": "group", "groups": 2},
    "group, strided": {"kind": "group", "groups": 2, "grouping": "strided"},
    "instance": {"kind": "instance"},
    "rms": {"kind": "rms"},
    "rms, partial": {"kind": "rms", "p": 0.5, "groups": 2},
    "meta, learned": {"kind": "meta"},
    "meta, groups": {"kind": "meta", "channels": "groups", "groups": 2},
    "switchable without batch": {"kind": "switchable", "batch_statistics": False},
}
every_spec = pytest.mark.parametrize("name", SPECS)
# no activation, and each possible activation, plain and proxy-normalized
every_end = pytest.mark.parametrize("end", [None, "relu", "proxy relu", "proxy silu"])


def layer_of(name: str, end: str | None, form: str) -> nn.Module:
    torch.manual_seed(3)
    spec = {**SPECS[name], "proxy": end is not None and "proxy" in end}
    layer = make(spec, 8, None if end is None else end.split()[-1], plain=form == "plain")
    for parameter_name, parameter in layer.named_parameters():
        if "gate" not in parameter_name:
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return layer


def run(layer: nn.Module, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    y = layer(x)
    (gx,) = torch.autograd.grad(y, x, g)
    return y.detach(), gx


@every_spec
@every_end
def test_a_sample_does_not_depend_on_the_rest_of_its_batch(
    name: str, end: str | None, form: str
) -> None:
    x, g = torch.randn(2, 5, 8, 4, 6)
    layer = layer_of(name, end, form)
    y, gx = run(layer, x, g)
    for i in range(5):
        alone = run(layer, x[i : i + 1], g[i : i + 1])
        torch.testing.assert_close(alone[0], y[i : i + 1])
        torch.testing.assert_close(alone[1], gx[i : i + 1])


@every_spec
@every_end
def test_nan_stays_in_its_sample(name: str, end: str | None, form: str) -> None:
    x, g = torch.randn(2, 4, 8, 4, 6)
    x[1, 2, 3, 0] = torch.nan
    y, gx = run(layer_of(name, end, form), x, g)
    others = [0, 2, 3]
    assert y[others].isfinite().all()
    assert gx[others].isfinite().all()
    assert not y[1].isfinite().all()


@every_spec
@every_end
def test_training_computes_the_same_as_evaluation(name: str, end: str | None, form: str) -> None:
    x, g = torch.randn(2, 4, 8, 4, 6)
    layer = layer_of(name, end, form)
    trained = run(layer, x, g)
    for found, expected in zip(run(layer.eval(), x, g), trained):
        torch.testing.assert_close(found, expected)
