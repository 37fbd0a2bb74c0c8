"""Kinds whose golden numbers are their formulas, computed apart in numpy."""

from __future__ import annotations

from typing import Any, Dict

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from normlab.norms import NormActivation, make, plain_operators
from tests.golden import by_formula
from tests.norms.golden import Golden, assert_same

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


def layer_of(golden: Golden, plain: bool) -> nn.Module:
    x, spec = golden["x"], golden.arguments["args"]
    layer = make(spec, x.shape[2], "relu", max(x.dim() - 3, 1))
    layer = layer.norm if isinstance(layer, NormActivation) else layer
    layer = plain_operators(layer.to(x.dtype), plain)
    layer.load_state_dict({name: golden[_short(name)] for name in layer.state_dict()})
    return layer


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def gradients(layer: nn.Module, x: Tensor, gy: Tensor) -> Dict[str, Any]:
    layer.zero_grad()
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(gy)
    found = {f"g_{_short(name)}": p.grad for name, p in layer.named_parameters()}
    return {"y": y, "gx": x.grad, **found}


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("plain", [False, True], ids=["fast", "plain operators"])
@pytest.mark.parametrize("name", by_formula.CASES)
def test_output_and_gradients_are_those_of_the_formula(
    name: str, plain: bool, dtype: torch.dtype
) -> None:
    golden = Golden(name, dtype)
    layer = layer_of(golden, plain)
    for t, x in enumerate(golden["x"]):
        for what, found in gradients(layer, x, golden["gy"][t]).items():
            assert_same(found, golden[what][t], TOLERANCE[dtype], what)


@pytest.mark.parametrize("name", by_formula.CASES)
def test_the_files_hold_what_the_formulas_give(name: str) -> None:
    with np.load(by_formula.FOLDER / f"{name}.npz") as kept:
        found = by_formula.vectors(name)
        assert kept["meta"] == found.pop("meta"), "run python -m tests.golden.by_formula"
        for array, numbers in found.items():
            np.testing.assert_allclose(kept[array], numbers, rtol=1e-12, atol=1e-14)
