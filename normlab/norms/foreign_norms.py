"""Norm layers of other libraries: known classes, their layouts, and modules fused into them."""

from __future__ import annotations

from enum import Enum
from typing import Any, Dict, NamedTuple, Optional, Tuple, Type

import torch
from torch import nn
from torch.nn.utils import parametrize

from normlab.norms.activation_norm import ActivationNorm


class Layout(Enum):
    """The position of the channels in a layer's input, and the range of the layer's statistics."""

    CHANNELS_FIRST = "channels first"
    TOKENS = "channels last, each token alone"
    POSITIONS = "channels first, each position alone"


class NormClass(NamedTuple):
    """A class of norm layers: its equivalent in torch, layout and dimensions of positions."""

    base: Type[nn.Module]
    layout: Layout
    dims: Optional[int]
    """Dimensions of positions; None for any number."""


_FIRST, _TOKENS, _POSITIONS = Layout.CHANNELS_FIRST, Layout.TOKENS, Layout.POSITIONS
_OF_TORCH: Dict[Type[nn.Module], NormClass] = {
    nn.BatchNorm1d: NormClass(nn.BatchNorm1d, _FIRST, 1),
    nn.BatchNorm2d: NormClass(nn.BatchNorm2d, _FIRST, 2),
    nn.BatchNorm3d: NormClass(nn.BatchNorm3d, _FIRST, 3),
    nn.InstanceNorm1d: NormClass(nn.InstanceNorm1d, _FIRST, 1),
    nn.InstanceNorm2d: NormClass(nn.InstanceNorm2d, _FIRST, 2),
    nn.InstanceNorm3d: NormClass(nn.InstanceNorm3d, _FIRST, 3),
    nn.SyncBatchNorm: NormClass(nn.SyncBatchNorm, _FIRST, None),
    nn.GroupNorm: NormClass(nn.GroupNorm, _FIRST, None),
    nn.LayerNorm: NormClass(nn.LayerNorm, _TOKENS, None),
}
if hasattr(nn, "RMSNorm"):  # since torch 2.4
    _OF_TORCH[nn.RMSNorm] = NormClass(nn.RMSNorm, _TOKENS, None)
# By package and class name, anywhere in the package, so no package has to be installed.
_ELSEWHERE: Dict[Tuple[str, str], NormClass] = {
    ("timm", "BatchNormAct2d"): NormClass(nn.BatchNorm2d, _FIRST, 2),
    ("timm", "SyncBatchNormAct"): NormClass(nn.SyncBatchNorm, _FIRST, None),
    ("timm", "GroupNorm"): NormClass(nn.GroupNorm, _FIRST, None),
    ("timm", "GroupNorm1"): NormClass(nn.GroupNorm, _FIRST, None),
    ("timm", "GroupNormAct"): NormClass(nn.GroupNorm, _FIRST, None),
    ("timm", "GroupNorm1Act"): NormClass(nn.GroupNorm, _FIRST, None),
    ("timm", "LayerNorm"): NormClass(nn.LayerNorm, _TOKENS, None),
    ("timm", "LayerNormFp32"): NormClass(nn.LayerNorm, _TOKENS, None),
    ("timm", "LayerNormAct"): NormClass(nn.LayerNorm, _TOKENS, None),
    ("timm", "LayerNormActFp32"): NormClass(nn.LayerNorm, _TOKENS, None),
    ("timm", "LayerNorm2d"): NormClass(nn.LayerNorm, _POSITIONS, 2),
    ("timm", "LayerNorm2dFp32"): NormClass(nn.LayerNorm, _POSITIONS, 2),
    ("timm", "LayerNormExp2d"): NormClass(nn.LayerNorm, _POSITIONS, 2),
    ("timm", "LayerNormAct2d"): NormClass(nn.LayerNorm, _POSITIONS, 2),
    ("timm", "LayerNormAct2dFp32"): NormClass(nn.LayerNorm, _POSITIONS, 2),
    ("timm", "RmsNorm"): NormClass(nn.Module, _TOKENS, None),
    ("timm", "RmsNormFp32"): NormClass(nn.Module, _TOKENS, None),
    ("timm", "RmsNormAct"): NormClass(nn.Module, _TOKENS, None),
    ("timm", "RmsNormActFp32"): NormClass(nn.Module, _TOKENS, None),
    ("timm", "RmsNorm2d"): NormClass(nn.Module, _POSITIONS, 2),
    ("timm", "RmsNorm2dFp32"): NormClass(nn.Module, _POSITIONS, 2),
    ("timm", "RmsNormAct2d"): NormClass(nn.Module, _POSITIONS, 2),
    ("timm", "RmsNormAct2dFp32"): NormClass(nn.Module, _POSITIONS, 2),
    ("transformers", "LlamaRMSNorm"): NormClass(nn.Module, _TOKENS, None),
    ("transformers", "MistralRMSNorm"): NormClass(nn.Module, _TOKENS, None),
    ("transformers", "MixtralRMSNorm"): NormClass(nn.Module, _TOKENS, None),
    ("transformers", "Phi3RMSNorm"): NormClass(nn.Module, _TOKENS, None),
    ("transformers", "Qwen2RMSNorm"): NormClass(nn.Module, _TOKENS, None),
    ("transformers", "Qwen3RMSNorm"): NormClass(nn.Module, _TOKENS, None),
    ("transformers", "T5LayerNorm"): NormClass(nn.Module, _TOKENS, None),
    ("torchvision", "LayerNorm2d"): NormClass(nn.LayerNorm, _POSITIONS, 2),
}
_OTHER_RMS = (
    "divides by the root mean square in a way that convert does not know (some scale by 1 + "
    "weight); exchange it by hand if it should be"
)
_KEPT: Tuple[Tuple[str, str], ...] = (  # a part of the class's name, and the reason why it is kept
    ("RMSNorm", _OTHER_RMS),
    ("RmsNorm", _OTHER_RMS),
    ("FrozenBatchNorm", "its statistics and its affine are constants, so it normalizes nothing"),
    ("LocalResponseNorm", "divides by neighbouring channels, and learns and tracks nothing"),
    ("CrossMapLRN", "divides by neighbouring channels, and learns and tracks nothing"),
    ("Norm", "is not a class that convert knows; replace it by hand if it should be"),
)
NAMES = tuple(kind.__name__ for kind in _OF_TORCH)


def known(module: nn.Module) -> Optional[NormClass]:
    """Return the facts about the class of *module*; None if it cannot be converted."""
    kind = type(module)
    found = _OF_TORCH.get(kind)
    if found is None:
        found = _ELSEWHERE.get((kind.__module__.split(".")[0], kind.__name__))
    if found is None or not isinstance(module, found.base):
        return None
    if found.layout is Layout.TOKENS and len(shape_of(module)) > 1:
        return NormClass(found.base, Layout.CHANNELS_FIRST, len(shape_of(module)) - 1)
    return found


def is_norm_of_torch(module: nn.Module) -> bool:
    """Return whether *module* is a norm layer of torch, a subclass of one, or a lazy one."""
    lazy = getattr(type(module), "cls_to_become", None)
    return isinstance(module, tuple(_OF_TORCH)) or lazy in _OF_TORCH


def shape_of(module: Any) -> Tuple[int, ...]:
    """Return the normalized shape of a layer norm or a root mean square norm."""
    return tuple(module.weight.shape if _says_eps_so(module) else module.normalized_shape)


def eps_of(module: Any) -> Optional[float]:
    """Return the eps of a known norm layer; None if it has none."""
    if _says_eps_so(module):
        return float(module.variance_epsilon)
    eps = getattr(module, "eps", None)
    if eps is None and _is_rms_of_torch(module):  # torch takes the input dtype's eps
        like = module.weight
        return torch.finfo(torch.get_default_dtype() if like is None else like.dtype).eps
    return None if eps is None else float(eps)


def _says_eps_so(module: nn.Module) -> bool:
    return hasattr(module, "variance_epsilon")  # the root mean square norms of transformers


def _is_rms_of_torch(module: nn.Module) -> bool:
    return hasattr(nn, "RMSNorm") and isinstance(module, nn.RMSNorm)


def channels_of(module: Any) -> int:
    """Return C of a known norm layer."""
    if isinstance(module, nn.GroupNorm):
        return module.num_channels
    return int(module.num_features if hasattr(module, "num_features") else shape_of(module)[0])


def held(module: nn.Module, name: str) -> Optional[nn.Module]:
    """Return the dropout (`drop`) or activation (`act`) in *module*, if it has an effect."""
    child = module._modules.get(name)
    return None if child is None or isinstance(child, nn.Identity) else child


def why_kept(module: nn.Module) -> Optional[str]:
    """Return the reason why a normalizing *module* is kept; None if it does not normalize."""
    steps = _steps_on_parameters(module)
    if steps:
        return f"its parameters are computed by {steps}; what acts on weights is left alone"
    if isinstance(module, ActivationNorm):
        return "is a normalizer of normlab already"
    name = type(module).__name__
    reason = next((why for part, why in _KEPT if part in name), None)
    return reason if reason is not None and _is_one_layer(module) else None


def _steps_on_parameters(module: nn.Module) -> str:
    names = []
    if parametrize.is_parametrized(module):
        chains: Any = module.parametrizations
        names = [type(step).__name__ for chain in chains.values() for step in chain]
    names += [type(hook).__name__ for hook in module._forward_pre_hooks.values()]
    return ", ".join(name for name in names if "Norm" in name)


def _is_one_layer(module: nn.Module) -> bool:
    # A block such as torchvision's Conv2dNormActivation also has "Norm" in its name; we search it.
    inner = list(module.modules())[1:]
    return all(p.dim() <= 1 for p in module.parameters()) and not any(
        is_norm_of_torch(m) or "Norm" in type(m).__name__ for m in inner
    )
