"""Prevent torch's transformers from computing norms without calling the norm layers."""

from __future__ import annotations

from typing import Sequence

from torch import nn


def leave_fast_paths(model: nn.Module, parents: Sequence[nn.Module]) -> None:
    """
    Make the transformer layers among *parents*, whose norms were replaced, call them in evaluation.

    In evaluation, TransformerEncoderLayer passes the norms' weights to one fused operator, which
    always computes layer normalization, and TransformerEncoder packs padded inputs for it.
    """
    changed = {id(p) for p in parents if isinstance(p, nn.TransformerEncoderLayer)}
    for parent in parents:
        if id(parent) in changed:
            parent.activation_relu_or_gelu = 0  # type: ignore[assignment]
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder) and changed & {id(m) for m in module.layers}:
            module.use_nested_tensor = False
            module.enable_nested_tensor = False
