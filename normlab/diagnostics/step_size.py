"""Effective step size: how far an update turns weights whose norm does not affect the loss.

The norms of each channel's weights are recorded after each epoch, for another training to copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterator, List, Mapping, Tuple, Union

import torch
from torch import Tensor, nn

from normlab.diagnostics.moment import Moment, Observer
from normlab.errors import InvalidSpec
from normlab.events import Diagnostic

# in their weights, output channels are the second dimension
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_FILTERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, *TRANSPOSED)


@dataclass(frozen=True)
class StepSize:
    """The values of one layer since the last reading, each a mean over output channels."""

    weight_norm: float
    effective_step: float
    direction_change: float


class StepSizeMeter:
    """
    Read weight norms, effective step sizes and measured turns of each layer.

    Before a normalizer, only the direction w^ = w / ||w|| of a channel's weights affects the loss,
    and plain SGD moves it by

    w^ <- w^ - eta / ||w||^2 (I - w^ w^T) grad L(w^),

    so eta_eff = eta / ||w||^2. The measured turn is the angle between the directions at two
    readings, in radians. Norms are computed in float64.

    Args:
        model: any torch model; its weights are only read.
        layers: names and layers; by default every convolution and linear layer except the last.

    Attributes:
        directions: each layer's directions at the last reading; save them to continue later.

    Raises:
        InvalidSpec: the model has no such layer.

    Source:
        Hoffer et al., "Norm matters: efficient and accurate normalization schemes in deep
        networks", NeurIPS 2018, arXiv:1803.01814, the section on the effective step size.
    """

    def __init__(
        self, model: nn.Module, layers: Union[Mapping[str, nn.Module], None] = None
    ) -> None:
        self.layers: Dict[str, nn.Module] = dict(layers or scale_free_layers(model))
        if not self.layers:
            raise InvalidSpec("the model has no convolution or linear layer: name its layers")
        self.directions: Dict[str, Tensor] = {}

    @torch.no_grad()
    def read(self, lr: float) -> Dict[str, StepSize]:
        """Measure every layer at learning rate *lr*; the first reading has no turns yet."""
        return {name: self._read(name, layer, lr) for name, layer in self.layers.items()}

    def _read(self, name: str, layer: nn.Module, lr: float) -> StepSize:
        w = rows(layer)
        norm = w.norm(dim=1).clamp_min(torch.finfo(w.dtype).tiny)
        direction = w / norm[:, None]
        before = self.directions.get(name, direction)
        self.directions[name] = direction
        # 2 asin(|a - b| / 2) keeps small angles, which acos(a b) would round to 0
        turn = 2 * torch.asin(((direction - before).norm(dim=1) / 2).clamp(max=1))
        return StepSize(float(norm.mean()), float((lr / norm**2).mean()), float(turn.mean()))


def scale_free_layers(model: nn.Module) -> List[Tuple[str, nn.Module]]:
    """List the layers with filters except the last one, whose scale does affect the loss."""
    return filter_layers(model)[:-1]


def filter_layers(model: nn.Module) -> List[Tuple[str, nn.Module]]:
    """List the layers with filters: convolutions, transposed ones, and linear layers."""
    return [(name, m) for name, m in model.named_modules() if isinstance(m, _FILTERS)]


def scale_invariance(layer: nn.Module) -> float:
    """
    Return the deviation of the last gradient from a right angle to the weights.

    It is |<grad, w>| / (||grad|| ||w||), the maximum over output channels. It is 0 if the loss does
    not depend on the scale of a channel's weights; this is exact for eps = 0. Call it after
    `backward`.

    Raises:
        InvalidSpec: the layer has no gradient.
    """
    gradients = [p.grad for p in _weights(layer)]
    if not gradients or gradients[0] is None:
        raise InvalidSpec("the layer has no gradient: run backward first")
    w, g = rows(layer), _by_output(layer, gradients[0])
    size = (w.norm(dim=1) * g.norm(dim=1)).clamp_min(torch.finfo(torch.float64).tiny)
    return float(((w * g).sum(1).abs() / size).max())


def _weights(layer: nn.Module) -> Iterator[Tensor]:
    weight = getattr(layer, "weight", None)
    if isinstance(weight, Tensor):
        yield weight


def rows(layer: nn.Module) -> Tensor:
    """Return the weights of each output channel as a row, in float64 on the host."""
    return _by_output(layer, next(_weights(layer)))


def _by_output(layer: nn.Module, x: Tensor) -> Tensor:
    if isinstance(layer, TRANSPOSED):
        x = x.transpose(0, 1)  # (in, out, ...) -> (out, in, ...)
    return x.detach().double().flatten(1).cpu()


def weight_norms(model: nn.Module) -> Dict[str, List[float]]:
    """Return the weight norm of each output channel of every layer except the last, in float64."""
    return {name: rows(layer).norm(dim=1).tolist() for name, layer in scale_free_layers(model)}


class WeightNormsObserver(Observer):
    """Records the norms after each epoch and its evaluation; epochs count from 0."""

    def after_epoch(self, moment: Moment) -> None:
        """Record the norms."""
        epoch = (moment.step - 1) // moment.steps_per_epoch
        record = {"epoch": epoch, "norms": weight_norms(moment.model)}
        moment.record(Diagnostic(name="weight_norms", step=moment.step, record=record))
