"""Kinds whose golden numbers are their formulas, computed separately in numpy."""

from __future__ import annotations

from typing import Any, Callable, Dict, Tuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from normlab.norms import (
    LAYERS,
    NormActivation,
    apply_weight_normalization,
    make,
    plain_operators,
)
from tests.golden import by_formula
from tests.norms.golden import Golden, assert_same

ON_WEIGHTS = [n for n, c in by_formula.CASES.items() if c.args["kind"] not in LAYERS]
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
@pytest.mark.parametrize("name", [n for n in by_formula.CASES if n not in ON_WEIGHTS])
def test_output_and_gradients_are_those_of_the_formula(
    name: str, plain: bool, dtype: torch.dtype
) -> None:
    golden = Golden(name, dtype)
    layer = layer_of(golden, plain)
    for t, x in enumerate(golden["x"]):
        for what, found in gradients(layer, x, golden["gy"][t]).items():
            assert_same(found, golden[what][t], TOLERANCE[dtype], what)


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("name", ON_WEIGHTS)
def test_weights_and_their_gradients_are_those_of_the_formula(
    name: str, transposed: bool, dtype: torch.dtype
) -> None:
    golden = Golden(name, dtype)
    for t, v in enumerate(golden["x"]):
        layer, turned = _filters(v, transposed)
        parts: Any = apply_weight_normalization(layer, golden.arguments["args"]).parametrizations
        own = getattr(parts.weight, "original1", None)
        if own is None:
            own = parts.weight.original
        else:
            parts.weight.original0.data.copy_(turned(golden["gain"]))
        layer.weight.backward(turned(golden["gy"][t]))
        assert_same(turned(layer.weight), golden["y"][t], TOLERANCE[dtype], "w")
        assert_same(turned(own.grad), golden["gx"][t], TOLERANCE[dtype], "v")
        if "gain" in golden:
            found = turned(parts.weight.original0.grad)
            assert_same(found, golden["g_gain"][t], TOLERANCE[dtype], "gain")


def _filters(v: Tensor, transposed: bool) -> Tuple[Any, Callable[[Tensor], Tensor]]:
    def turned(w: Tensor) -> Tensor:
        return w.transpose(0, 1) if transposed else w

    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    c_out, c_in = v.shape[:2]
    layer = kind(c_in, c_out, (3, 2)).to(v.dtype)
    layer.weight.data.copy_(turned(v))
    return layer, turned


@pytest.mark.parametrize("name", by_formula.CASES)
def test_the_files_hold_what_the_formulas_give(name: str) -> None:
    with np.load(by_formula.FOLDER / f"{name}.npz") as kept:
        found = by_formula.vectors(name)
        assert kept["meta"] == found.pop("meta"), "run python -m tests.golden.by_formula"
        for array, numbers in found.items():
            np.testing.assert_allclose(kept[array], numbers, rtol=1e-12, atol=1e-14)
