"""Copy a norm layer's affine, running statistics, dtype, device and hooks to its successor."""

from __future__ import annotations

from typing import Any, Iterator, List, Optional, Tuple

import torch
from torch import Tensor, nn

from normlab.errors import InvalidSpec
from normlab.norms.deviation_norm import DeviationBatchNorm

_HOOKS = (
    "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called",
    "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_backward_hooks",
    "_backward_pre_hooks", "_is_full_backward_hook",
)  # fmt: skip


def carry(
    model: nn.Module, old: Any, new: nn.Module, norm: nn.Module
) -> Tuple[List[str], List[str]]:
    """
    Copy the state of *old* to *new*, which contains *norm*; return the names kept, and notes.

    A parameter with one number for each channel stays the same object, so tied parameters stay
    tied. If *old* has no tensor, dtype and device are those of *model*.

    Raises:
        InvalidSpec: the affine differs between positions.
    """
    _place_like(new, *_likes(model, old))
    holder: Any = norm if getattr(new, "weight", None) is None else new
    carried = [name for name in ("weight", "bias") if _carry_parameter(old, holder, name)]
    notes = _lost_affine(old, holder, carried)
    if getattr(old, "running_mean", None) is not None:
        names = carry_statistics(old, norm)
        carried += names
        notes += [] if names else [f"{type(norm).__name__} has no running statistics"]
    return carried, notes


def carry_hooks(old: nn.Module, new: nn.Module) -> None:
    """Move the hooks of *old* to *new*; their handles can still remove them."""
    for name in _HOOKS:
        if getattr(old, name, None):
            setattr(new, name, getattr(old, name))


def _likes(model: nn.Module, old: Any) -> Tuple[Optional[Tensor], Optional[Tensor]]:
    """Return tensors with the dtype and device for parameters and for buffers."""
    weight, running = getattr(old, "weight", None), getattr(old, "running_mean", None)
    floating = (p for p in model.parameters() if p.is_floating_point())
    any_of_model = next(floating, None) if weight is None and running is None else None
    parameter = next((t for t in (weight, running, any_of_model) if t is not None), None)
    return parameter, running if running is not None else parameter


def _place_like(new: nn.Module, parameter: Optional[Tensor], buffer: Optional[Tensor]) -> None:
    if parameter is None or buffer is None:
        return
    for module in new.modules():
        for name, p in module._parameters.items():
            if p is not None:
                placed = p.detach().to(parameter.device, parameter.dtype)
                module._parameters[name] = nn.Parameter(placed, p.requires_grad)
        for name, b in module._buffers.items():
            if b is not None:
                dtype = buffer.dtype if b.is_floating_point() else b.dtype
                module._buffers[name] = b.to(buffer.device, dtype)


def _carry_parameter(old: Any, holder: Any, name: str) -> bool:
    theirs, ours = getattr(old, name, None), getattr(holder, name, None)
    if theirs is None or ours is None:
        return False
    if theirs.dim() > 1:
        theirs = nn.Parameter(_per_channel(theirs.detach()), theirs.requires_grad)
    setattr(holder, name, theirs)
    return True


def _per_channel(affine: Tensor) -> Tensor:
    rows = affine.flatten(1)
    if not affine.is_meta and not torch.equal(rows, rows[:, :1].expand_as(rows)):
        raise InvalidSpec(
            "its affine differs between positions; normlab's has one for each channel"
        )
    return rows[:, 0].clone()


def _lost_affine(old: Any, holder: Any, carried: List[str]) -> List[str]:
    notes = []
    weight, bias = getattr(old, "weight", None), getattr(old, "bias", None)
    if bias is not None and "bias" not in carried:
        notes.append("its bias has no place where no activation follows")
    if bias is None and weight is not None and getattr(holder, "bias", None) is not None:
        notes.append("it gains a bias, of zero")
    if weight is None and getattr(holder, "weight", None) is not None:
        notes.append("it gains an affine, of 1 and 0")
    if weight is not None and weight.dim() > 1:
        notes.append("its affine of one number for each position becomes one for each channel")
    return notes


def carry_statistics(old: Any, norm: nn.Module) -> List[str]:
    """
    Copy the running statistics of *old* to *norm*, if it has some; return their names in *norm*.

    *old* has running_mean, running_var, eps and num_batches_tracked, like torch's layers.
    """
    carried = []
    with torch.no_grad():
        for name, value in _statistics(old, norm):
            buffer = norm._buffers.get(name)
            if buffer is not None and value is not None:
                buffer.copy_(value)
                carried.append(name)
    return carried


def _statistics(old: Any, norm: nn.Module) -> Iterator[Tuple[str, Optional[Tensor]]]:
    mean, std = old.running_mean, (old.running_var + old.eps).sqrt()
    inverse = isinstance(norm, DeviationBatchNorm) and norm.running == "reference"
    var = 1 / std if inverse else old.running_var
    for names, value in (
        (("running_mean", "moving_mean", "mu"), mean),
        (("running_var", "var", "moving_var"), var),
        (("running_std", "moving_std"), std),
        (("num_batches_tracked",), old.num_batches_tracked),
    ):
        for name in names:
            yield name, value
