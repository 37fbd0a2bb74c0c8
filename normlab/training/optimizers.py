"""Optimizers from their specs: parameter groups, and the scaling of the learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Optional

import torch
from torch import nn

from normlab.diagnostics.step_size import scale_free_layers
from normlab.norms import ParameterHint, parameter_hints
from normlab.specs.jobs import JobSpec
from normlab.specs.optimization import SGD, AdamW, OptimizerSpec, RMSprop


@dataclass(frozen=True)
class Rate:
    """Learning rate and momentum at the job's own number of samples per update."""

    learning_rate: float
    momentum: Optional[float]  # None: the optimizer has none that may be scaled


def scaled_rate(optimizer: OptimizerSpec, samples_per_update: int) -> Rate:
    """
    Scale learning rate and momentum from the reference batch to *samples_per_update*.

    With k = samples_per_update / lr_reference_batch: linear lr * k; square_root lr * sqrt(k);
    time_constant m' = m^k and lr' = lr * k * (1 - m') / (1 - m), which keeps momentum's memory
    in samples and the step per sample.

    Source:
        time_constant: the rule in the code of Chiley et al., "Online Normalization for Training
        Neural Networks", arXiv:1905.05894.
    """
    lr = optimizer.lr
    momentum = optimizer.momentum if isinstance(optimizer, (SGD, RMSprop)) else None
    if optimizer.lr_reference_batch is None:
        return Rate(lr, momentum)
    k = samples_per_update / optimizer.lr_reference_batch
    if optimizer.batch_scaling == "linear":
        return Rate(lr * k, momentum)
    if optimizer.batch_scaling == "square_root":
        return Rate(lr * k**0.5, momentum)
    m = momentum or 0.0
    return Rate(lr * k * (1 - m**k) / (1 - m), m**k)


def make_optimizer(model: nn.Module, spec: JobSpec) -> torch.optim.Optimizer:
    """
    Build the job's optimizer over the parameters of *model*.

    A small network's update is mostly overhead, so it is made in torch's fused form on a CPU
    where there is one, and else on lists of tensors (torch's "foreach").
    """
    groups = parameter_groups(model, spec)
    if _has_fused(model, spec.optimizer):
        return _counting(_optimizer(groups, spec, fused=True))
    return _optimizer(groups, spec, foreach=True)


def _optimizer(groups: List[Dict[str, Any]], spec: JobSpec, **form: bool) -> torch.optim.Optimizer:
    optimizer = spec.optimizer
    rate = scaled_rate(optimizer, spec.samples_per_update)
    lr, momentum = rate.learning_rate, rate.momentum or 0.0
    if isinstance(optimizer, AdamW):
        betas = (optimizer.beta1, optimizer.beta2)
        return torch.optim.AdamW(groups, lr, betas=betas, eps=optimizer.eps, **form)
    if isinstance(optimizer, RMSprop):
        return torch.optim.RMSprop(groups, lr, optimizer.alpha, optimizer.eps, 0, momentum, **form)
    return torch.optim.SGD(groups, lr, momentum, nesterov=optimizer.nesterov, **form)


def _has_fused(model: nn.Module, optimizer: OptimizerSpec) -> bool:
    # Since torch 2.4, as is the counting of versions. CUDA's graphs were made for lists.
    on_cpu = all(p.device.type == "cpu" for p in model.parameters())
    counts = hasattr(torch.autograd.graph, "increment_version")
    return on_cpu and counts and not isinstance(optimizer, RMSprop)


def _counting(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Count up the parameters' versions, by which streaming normalization knows of an update."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def count(*_: object) -> None:
        torch.autograd.graph.increment_version(parameters)

    optimizer.register_step_post_hook(count)
    return optimizer


def parameter_groups(model: nn.Module, spec: JobSpec) -> List[Dict[str, Any]]:
    """
    Sort the parameters into groups with a `weight_decay` and an `lr_factor` each.

    Matrices and filters decay. Those with one value per channel (biases, scales, shifts, lengths)
    do not, unless `decay_normalizers` is set. Parameters for which their normalizer has a hint
    follow that: proxy normalization's beta' and gamma' decay by `proxy_weight_decay`. Layers that
    the norms of another job steer do not decay.
    """
    hints = parameter_hints(model)
    if spec.optimizer.norms_of is not None:
        for _, layer in scale_free_layers(model):
            hints[layer.weight] = ParameterHint()  # type: ignore[index]
    decay = spec.optimizer.weight_decay
    groups: Dict[ParameterHint, List[nn.Parameter]] = {}
    for parameter in model.parameters():
        decays = spec.optimizer.decay_normalizers or _is_matrix(parameter)
        own = hints.get(parameter, ParameterHint(weight_decay=decay if decays else 0.0))
        groups.setdefault(own, []).append(parameter)
    return [
        {"params": params, "weight_decay": hint.weight_decay, "lr_factor": hint.lr_factor}
        for hint, params in groups.items()
    ]


def _is_matrix(parameter: nn.Parameter) -> bool:
    return sum(size > 1 for size in parameter.shape) > 1
