"""The normalizers of a model, and their outputs before scale and shift."""

from __future__ import annotations

import copy
from typing import Dict, Tuple, Type, Union

import torch
from torch import Tensor, nn

from normlab.norms import ACTIVATION_MODULES, NormActivation
from normlab.norms.activation_norm import ActivationNorm
from normlab.norms.evonorm import EvoNormS0
from normlab.norms.filter_response import Thresholded
from normlab.norms.proxy import ProxyNorm

TORCH_NORMS: Tuple[Type[nn.Module], ...] = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.GroupNorm, nn.LayerNorm,
    nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
)  # fmt: skip
_WHOLE_SITES: Tuple[Type[nn.Module], ...] = (NormActivation, ProxyNorm, Thresholded, EvoNormS0)
_SITES: Tuple[Type[nn.Module], ...] = (*_WHOLE_SITES, ActivationNorm, *TORCH_NORMS)


def normalizer_sites(model: nn.Module) -> Dict[str, nn.Module]:
    """
    Find the normalizers of *model*, ours and torch's, by name, in the model's order.

    If one of our normalizers includes its activation, the site is both together.
    """
    sites: Dict[str, nn.Module] = {}
    inside = None
    for name, module in model.named_modules():
        if inside is not None and name.startswith(inside):
            continue
        if isinstance(module, _SITES):
            sites[name] = module
            inside = f"{name}." if name else ""
    return sites


def activation_sites(model: nn.Module) -> Dict[str, nn.Module]:
    """Find the activations: our sites that include one, and activations without a normalizer."""
    found = (*_WHOLE_SITES, *ACTIVATION_MODULES.values())
    return {name: module for name, module in model.named_modules() if isinstance(module, found)}


@torch.no_grad()
def normalized(site: nn.Module, x: Tensor, out: Tensor) -> Union[Tensor, None]:
    """
    Return the output of the normalizer of *site* for *x*, before scale, shift and activation.

    For our sites, this is computed a second time without changing their state. For torch's own
    layers, it is computed from *out* by undoing the affine; None if the scale is 0.
    """
    norm = getattr(site, "norm", site)
    if isinstance(norm, ActivationNorm):
        return copy.deepcopy(norm).normalize_with(x, None, None)
    weight, bias = getattr(site, "weight", None), getattr(site, "bias", None)
    if weight is None:
        return out
    if not bool(weight.all()):
        return None
    shape = (1, -1) + (1,) * (out.dim() - 2)
    y: Tensor = (out - (0 if bias is None else bias.view(shape))) / weight.view(shape)
    return y
