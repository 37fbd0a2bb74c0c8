"""Layers that PopTorch refuses, or computes differently, because of their attributes."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Tuple, Type

from torch import nn

Refusal = Callable[[Any], bool]


def _always(layer: Any) -> bool:
    return True


def _bidirectional_or_deep(layer: Any) -> bool:
    return bool(layer.bidirectional or layer.dropout or layer.num_layers > 1 or not layer.bias)


_RECURRENT = "recurrent layers need one direction, one layer, no dropout and a bias"

REFUSED: Dict[Type[nn.Module], List[Tuple[Refusal, str]]] = {
    nn.SyncBatchNorm: [(_always, "synchronised batch norm is not supported")],
    nn.CrossMapLRN2d: [(_always, "local response norm over maps is not supported")],
    nn.LocalResponseNorm: [(_always, "its padded average pooling gives other numbers")],
    nn.AdaptiveMaxPool2d: [(_always, "adaptive max pooling is not supported")],
    nn.FractionalMaxPool2d: [(_always, "fractional max pooling is not supported")],
    nn.MaxPool2d: [(lambda m: bool(m.return_indices), "return_indices is not supported")],
    nn.AvgPool2d: [
        (lambda m: m.divisor_override is not None, "divisor_override is silently ignored"),
        (lambda m: m.padding not in (0, (0, 0)), "padded average pooling gives other numbers"),
    ],
    nn.InstanceNorm2d: [
        (lambda m: bool(m.track_running_stats), "running statistics are ignored in instance norm"),
    ],
    nn.Conv2d: [(lambda m: m.padding_mode == "circular", "circular padding is not supported")],
    nn.ConvTranspose2d: [
        (lambda m: any(d > 1 for d in m.dilation), "dilated transposed convolution gives errors"),
    ],
    nn.Embedding: [(lambda m: m.padding_idx is not None, "padding_idx is not supported")],
    nn.CrossEntropyLoss: [
        (lambda m: m.weight is not None, "class weights are not supported"),
        (lambda m: m.label_smoothing > 0, "label_smoothing emits masked_select on torch 2.0.1"),
    ],
    nn.NLLLoss: [(lambda m: m.weight is not None, "class weights are not supported")],
    nn.HuberLoss: [(_always, "use SmoothL1Loss")],
    nn.RNN: [(_bidirectional_or_deep, _RECURRENT)],
    nn.LSTM: [(_bidirectional_or_deep, _RECURRENT)],
    nn.GRU: [(_bidirectional_or_deep, _RECURRENT)],
}


def layer_problems(model: nn.Module) -> List[str]:
    """List the layers of *model* with attributes that an IPU does not support."""
    found = []
    for path, layer in model.named_modules():
        for kind, refusals in REFUSED.items():
            if isinstance(layer, kind):
                name = f"{kind.__name__} {path}".rstrip()
                found += [f"{name}: {why}" for refuses, why in refusals if refuses(layer)]
    return found
