from __future__ import annotations

from typing import Dict

import pytest
import torch
from torch import Tensor, nn

from normlab.norms import engine, make
from tests.norms.golden import Golden, assert_same

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}

FILES = [
    ("bn_torch_2d_n2", {"kind": "batch"}),
    ("bn_torch_2d_n8", {"kind": "batch"}),
    ("ln_torch_n2", {"kind": "layer"}),
    ("in_torch_n2", {"kind": "instance"}),
    ("gn2_torch_n2", {"kind": "group", "groups": 2}),
]


def _running(layer: nn.Module) -> Dict[str, Tensor]:
    parameters = dict(layer.named_parameters())
    return {k: v for k, v in layer.state_dict().items() if k not in parameters}


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("form", ["native", "engine", "engine in plain operators"])
@pytest.mark.parametrize(("name", "spec"), FILES, ids=[name for name, _ in FILES])
def test_the_standard_kinds_match_torch(
    name: str,
    spec: dict[str, object],
    form: str,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if form != "native":
        monkeypatch.setattr(engine, "is_native", lambda *_: False)
    golden, tolerance = Golden(name, dtype), TOLERANCE[dtype]
    layer = make(spec, golden["x"].shape[2], plain="plain" in form).to(dtype)
    layer.load_state_dict(
        {k: golden[k if k in ("weight", "bias") else f"state0_{k}"] for k in layer.state_dict()}
    )
    for t in range(golden["x"].shape[0]):
        x = golden["x"][t].requires_grad_()
        layer.zero_grad()
        y = layer(x)
        y.backward(golden["gy"][t])
        assert_same(y, golden["y"][t], tolerance, "y")
        assert_same(x.grad, golden["gx"][t], tolerance, "gx")
        assert_same(layer.weight.grad, golden["g_weight"][t], tolerance, "g_weight")
        assert_same(layer.bias.grad, golden["g_bias"][t], tolerance, "g_bias")
        for name, buffer in layer.named_buffers():
            assert_same(buffer, golden[f"state_{name}"][t], tolerance, name)
    assert_same(layer.eval()(golden["x_eval"]), golden["y_eval"], tolerance, "y_eval")
