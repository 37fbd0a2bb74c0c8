"""Optimizers from their specs: what decays, and how the rate follows the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Tuple

import torch
from torch import nn

from normlab.specs.jobs import JobSpec
from normlab.specs.optimization import SGD, AdamW, OptimizerSpec, RMSprop

_VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])
# On the CPU as well since torch 2.5.
_FUSED: Dict[str, Any] = {"fused": True} if _VERSION >= (2, 5) else {}


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

    SGD and AdamW make their update in one pass where torch can: a small network's step is
    mostly overhead.
    """
    optimizer = spec.optimizer
    rate = scaled_rate(optimizer, spec.samples_per_update)
    groups = parameter_groups(model, spec)
    if isinstance(optimizer, AdamW):
        betas = (optimizer.beta1, optimizer.beta2)
        return torch.optim.AdamW(
            groups, rate.learning_rate, betas=betas, eps=optimizer.eps, **_FUSED
        )
    momentum = rate.momentum or 0.0
    if isinstance(optimizer, RMSprop):
        return torch.optim.RMSprop(
            groups, rate.learning_rate, optimizer.alpha, optimizer.eps, momentum=momentum
        )
    return torch.optim.SGD(
        groups, rate.learning_rate, momentum=momentum, nesterov=optimizer.nesterov, **_FUSED
    )


def parameter_groups(model: nn.Module, spec: JobSpec) -> List[Dict[str, Any]]:
    """
    Sort the parameters by their weight decay.

    Matrices and filters decay. Vectors (biases, scales and shifts) do not, unless
    `decay_normalizers` is set. A module decides for its own parameters by an attribute
    `decayed_parameters`, the names of those that decay: proxy normalization's beta' and gamma'
    do, with `proxy_weight_decay` on top.
    """
    decay = spec.optimizer.weight_decay
    extra = getattr(spec.normalizer, "proxy_weight_decay", 0.0)
    filters, named, vectors = [], [], []
    for parameter, decays, by_name in _judged(model):
        if by_name:
            named.append(parameter)
        elif decays or spec.optimizer.decay_normalizers:
            filters.append(parameter)
        else:
            vectors.append(parameter)
    groups = ((filters, decay), (named, decay + extra), (vectors, 0.0))
    return [{"params": params, "weight_decay": wd} for params, wd in groups if params]


def _judged(model: nn.Module) -> Iterator[Tuple[nn.Parameter, bool, bool]]:
    seen = set()
    for module in model.modules():
        names = getattr(module, "decayed_parameters", None)
        for name, parameter in module.named_parameters(recurse=False):
            if parameter in seen:
                continue
            seen.add(parameter)
            by_name = names is not None and name in names
            yield parameter, names is None and parameter.ndim > 1, by_name
