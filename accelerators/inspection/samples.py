"""Apply a normalizer to a few random values, forward and backward, to draw a picture of it."""

from __future__ import annotations

import inspect
from typing import Any, Dict, List, Mapping, Tuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from normlab import norms
from normlab.norms.activation_norm import ActivationNorm
from normlab.specs.norm_base import NormSpec
from normlab.specs.normalizers import parse_normalizer

_DIGITS = 5
_CHANNELS = 8  # a power of two, as meta normalization requires
_FAN_IN = (4, 3, 3)
_SEED = 0


def sample(asked: Mapping[str, Any]) -> Dict[str, Any]:
    """
    Run a normalizer, and return the fields of a SampleRecord.

    Args:
        asked: `normalizer`, a kind with its options; `samples` and `side` of the values; `before`,
            the number of updates before; `shift` and `scale` of the input.
    """
    spec = parse_normalizer(asked["normalizer"])
    torch.manual_seed(_SEED)
    if spec.acts_on_weights:
        return _of_weights(spec, float(asked["shift"]), float(asked["scale"]))
    return _of_activations(spec, asked)


def _of_activations(spec: NormSpec, asked: Mapping[str, Any]) -> Dict[str, Any]:
    layer = norms.make(spec, _CHANNELS, None if not spec.fuses_activation else "relu").train()
    norms.set_training_progress(layer, 1.0)
    for _ in range(int(asked["before"])):
        layer(_maps(asked).requires_grad_()).sum().backward()
    x = _maps(asked).requires_grad_()
    y = layer(x)
    dy = _upstream(y)
    (dx,) = torch.autograd.grad(y, x, dy)
    with torch.no_grad():
        evaluated = layer.eval()(x)
    found = {"x": x, "y": y, "dy": dy, "dx": dx, "evaluated": evaluated}
    what = "nothing" if spec.layer is None else "activations"
    return {"what": what, **_written(found), "shape": [*x.shape[:2], x[0, 0].numel()],
            "doc": "" if spec.layer is None else _doc(layer)}  # fmt: skip


def _maps(asked: Mapping[str, Any]) -> Tensor:
    """Return values as in a network, with an offset and a scale for each channel and sample."""
    n, side = int(asked["samples"]), int(asked["side"])
    channels = torch.linspace(-1.5, 1.5, _CHANNELS).view(1, -1, 1, 1)
    contrast = torch.linspace(0.5, 1.5, n).view(-1, 1, 1, 1)
    noise = torch.randn(n, _CHANNELS, side, side)
    values = channels + contrast * (0.6 + 0.1 * channels.abs()) * noise
    return float(asked["shift"]) + float(asked["scale"]) * values


def _upstream(y: Tensor) -> Tensor:
    """Return a gradient with a common part and a part along *y*, which most kinds remove."""
    return (0.5 + 0.5 * y + torch.randn(y.shape)).detach()


def _of_weights(spec: NormSpec, shift: float, scale: float) -> Dict[str, Any]:
    conv = nn.Conv2d(_FAN_IN[0], _CHANNELS, _FAN_IN[1:], bias=False)
    with torch.no_grad():
        sizes = torch.linspace(0.3, 1.0, _CHANNELS).view(-1, 1, 1, 1)
        conv.weight.copy_(shift + scale * (0.2 + sizes * torch.randn(conv.weight.shape)))
    raw = conv.weight.detach().clone()
    norms.apply_weight_normalization(nn.Sequential(conv), spec)
    effective = conv.weight
    dy = _upstream(effective)
    (dx,) = torch.autograd.grad(effective, _direction(conv, raw.shape), dy)
    found = {"x": raw, "y": effective, "dy": dy, "dx": dx}
    return {"what": "weights", **_written(found), "evaluated": [],
            "shape": [1, _CHANNELS, raw[0].numel()], "doc": _doc(conv)}  # fmt: skip


def _direction(conv: nn.Conv2d, shape: Tuple[int, ...]) -> Tensor:
    """Return the parameter that has one value for each weight."""
    return next(p for p in conv.parameters() if p.shape == shape)


def _written(found: Mapping[str, Any]) -> Dict[str, List[float]]:
    return {name: [round(v, _DIGITS) for v in x.flatten().tolist()] for name, x in found.items()}


def _doc(layer: nn.Module) -> str:
    """Return the description of the class that does the computation."""
    if is_parametrized(layer):
        chains: Any = layer.parametrizations
        layer = next(iter(chains["weight"]))
    found = [m for m in layer.modules() if isinstance(m, ActivationNorm)]
    return inspect.getdoc(type(found[0] if found else layer)) or ""
