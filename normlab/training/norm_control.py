"""Make a training follow the weight norms that another one recorded."""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Optional, Sequence, cast

import torch
from torch import Tensor, nn

from normlab.diagnostics.step_size import TRANSPOSED, scale_free_layers
from normlab.errors import InvalidSpec
from normlab.specs.devices import those
from normlab.specs.jobs import JobSpec
from normlab.specs.optimizers import Optimizer
from normlab.training.accelerator import Session

EpochNorms = Mapping[str, Sequence[float]]
Steer = Callable[[int], None]  # is called with the epoch before each update


def steering(session: Session, spec: JobSpec, norms: Optional[Sequence[EpochNorms]]) -> Steer:
    """
    Let *norms* control the updates of *session* if *spec* asks for it; return the epoch's setter.

    Raises:
        InvalidSpec: the norms are missing or from another model, or the device cannot do it.
    """
    if spec.optimizer.norms_of is None:
        return lambda epoch: None
    if norms is None:
        raise InvalidSpec(
            f"optimizer.norms_of: the norms of job {spec.optimizer.norms_of!r} were not given "
            "to the training; give them to fit, or submit the job to a service"
        )
    optimizer = getattr(session, "optimizer", None)
    if not isinstance(optimizer, torch.optim.Optimizer):
        able = those(lambda facts: facts.steers_weights)
        raise InvalidSpec(f"optimizer.norms_of: this device updates weights itself; use {able}")
    control = NormControl(session.inspect(), spec.optimizer, norms)
    control.attach(optimizer)
    return control.enter_epoch


class NormControl:
    """
    Correct each update so that filters learn as in a training with other weight norms.

    Mode "rate": eta_c = eta ||w_c||^2 / ||r_c||^2 for each output channel c, with w_c its weights
    before the update and r_c those recorded in the same epoch: the whole update, momentum
    included, is multiplied by the ratio. NaN values in an update become 0.

    Mode "schedule": after each update the weights of a channel get the recorded norm.

    This applies to every layer except the last; biases and normalizers learn as usual.

    Args:
        model: the model whose parameters the optimizer updates in place.
        optimizer: the mode, and the limit of the ratio (into [1 / limit, limit]) or None.
        norms: a mapping from layer to norms of its output channels, one per epoch.

    Raises:
        InvalidSpec: the norms are those of other layers or channels.

    Source:
        Hoffer et al., "Norm matters", NeurIPS 2018, arXiv:1803.01814, equation 4. The limit is
        ours: a channel that died without weight decay has an unbounded ratio. In their norm
        schedule, drops of the learning rate are turned into norms as well; here the rate keeps its
        own schedule.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, norms: Sequence[EpochNorms]) -> None:
        self._mode = optimizer.norm_mode
        self._limit = optimizer.norm_ratio_limit
        self._weights = {name: _by_channel(layer) for name, layer in scale_free_layers(model)}
        self._norms = [_tensors(self._weights, epoch) for epoch in norms]

        self._epoch = 0
        self._before: Dict[str, Tensor] = {}

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Correct every step of *optimizer* from now on; it must not let these layers decay."""
        if self._mode == "rate":
            optimizer.register_step_pre_hook(self._set_aside)
            optimizer.register_step_post_hook(self._apply)
        else:
            optimizer.register_step_post_hook(self._rescale)

    def enter_epoch(self, epoch: int) -> None:
        """Use the norms of *epoch*, from 0."""
        if epoch >= len(self._norms):
            raise InvalidSpec(
                f"optimizer.norms_of: the norms of {len(self._norms)} epochs were recorded, and "
                f"this is epoch {epoch + 1}; train for fewer epochs"
            )
        self._epoch = epoch

    def _set_aside(self, *_: Any) -> None:
        # Starting from weights of 0, the step gives the update itself; a difference would lose
        # digits.
        for name, weight in self._weights.items():
            self._before[name] = weight.clone()
            weight.zero_()

    def _apply(self, *_: Any) -> None:
        for name, update in self._weights.items():
            before = self._before.pop(name)
            ratio = (_norms(before) / self._recorded(name)) ** 2
            if self._limit is not None:
                ratio = ratio.clamp(1 / self._limit, self._limit)
            update.mul_(_per_channel(ratio, update))
            update.masked_fill_(update.isnan(), 0.0).add_(before)

    def _rescale(self, *_: Any) -> None:
        for name, weight in self._weights.items():
            ratio = self._recorded(name) / _norms(weight)
            weight.mul_(_per_channel(ratio.nan_to_num(1.0, 1.0), weight))

    def _recorded(self, name: str) -> Tensor:
        return self._norms[self._epoch][name].to(self._weights[name].device)


def _by_channel(layer: nn.Module) -> Tensor:
    """Return the layer's own weights, in place, with the output channels first."""
    weight = cast("Tensor", layer.weight).detach()
    return weight.transpose(0, 1) if isinstance(layer, TRANSPOSED) else weight


def _norms(weight: Tensor) -> Tensor:
    norms: Tensor = weight.double().flatten(1).norm(dim=1)
    return norms


def _per_channel(ratio: Tensor, like: Tensor) -> Tensor:
    rows: Tensor = ratio.to(like).view(-1, *[1] * (like.dim() - 1))  # (C,) -> (C, 1, ...)
    return rows


def _tensors(weights: Mapping[str, Tensor], epoch: EpochNorms) -> Dict[str, Tensor]:
    found = {name: len(norms) for name, norms in epoch.items()}
    needed = {name: len(weight) for name, weight in weights.items()}
    if found != needed:
        raise InvalidSpec(
            f"optimizer.norms_of: the recorded norms are of layers and channels {found}, this "
            f"model has {needed}; name a job with the same model"
        )
    return {name: torch.tensor(norms, dtype=torch.float64) for name, norms in epoch.items()}
