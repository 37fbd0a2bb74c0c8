"""Optimizers from their specs: parameter groups, and the scaling of the learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional

import torch
from torch import nn

from normlab.diagnostics.step_size import scale_free_layers
from normlab.errors import InvalidSpec
from normlab.norms import ParameterHint, parameter_hints
from normlab.specs.jobs import JobSpec
from normlab.specs.optimizers import Optimizer
from normlab.specs.registries import named_object


@dataclass(frozen=True)
class Rate:
    """Learning rate and momentum at the job's own number of samples per update."""

    learning_rate: float
    momentum: Optional[float]  # None if the optimizer has no momentum that may be scaled


def scaled_rate(optimizer: Optimizer, samples_per_update: int) -> Rate:
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
    momentum: Optional[float] = optimizer.own.get("momentum")
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

    Raises:
        InvalidSpec: the code of a plugin makes something else.
    """
    return optimizer_over(parameter_groups(model, spec), spec)


def optimizer_over(groups: List[Dict[str, Any]], spec: JobSpec) -> torch.optim.Optimizer:
    """
    Build the job's optimizer over *groups*, such as those of `parameter_groups`.

    Raises:
        InvalidSpec: the code of a plugin makes something else.
    """
    optimizer = spec.optimizer
    rate = scaled_rate(optimizer, spec.samples_per_update)
    options = optimizer.own if rate.momentum is None else _with_momentum(optimizer, rate.momentum)
    made = named_object(optimizer.factory)(groups, lr=rate.learning_rate, **options)
    if not isinstance(made, torch.optim.Optimizer):
        raise InvalidSpec(
            f"optimizer {optimizer.name!r} made {type(made).__name__}; it makes a "
            "torch.optim.Optimizer"
        )
    return _counting(made)


def _with_momentum(optimizer: Optimizer, momentum: float) -> Dict[str, Any]:
    return {**optimizer.own, "momentum": momentum}


def _counting(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Increase the parameters' versions, by which streaming normalization detects an update."""
    if not hasattr(torch.autograd.graph, "increment_version"):  # since torch 2.4
        return optimizer
    parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def count(*_: object) -> None:
        torch.autograd.graph.increment_version(parameters)

    optimizer.register_step_post_hook(count)
    return optimizer


def parameter_groups(model: nn.Module, spec: JobSpec) -> List[Dict[str, Any]]:
    """
    Sort the parameters into groups with a `weight_decay` and an `lr_factor` each.

    Matrices and filters decay. Those with one value per channel (biases, scales, shifts, lengths)
    do not, unless `decay_normalizers` is set. Parameters with a hint of their normalizer follow the
    hint: proxy normalization's beta' and gamma' decay by `proxy_weight_decay`. Layers that the
    norms of another job steer do not decay. With `layer_decay` the rate falls towards the input.
    """
    hints = parameter_hints(model)
    if spec.optimizer.norms_of is not None:
        for _, layer in scale_free_layers(model):
            hints[layer.weight] = ParameterHint()  # type: ignore[index]
    decay = spec.optimizer.weight_decay
    rates = layer_factors(model, spec.optimizer.layer_decay)
    groups: Dict[ParameterHint, List[nn.Parameter]] = {}
    for parameter in model.parameters():
        decays = spec.optimizer.decay_normalizers or _is_matrix(parameter)
        own = hints.get(parameter, ParameterHint(weight_decay=decay if decays else 0.0))
        if parameter in rates:
            own = own._replace(lr_factor=own.lr_factor * rates[parameter])
        groups.setdefault(own, []).append(parameter)
    return [
        {"params": params, "weight_decay": hint.weight_decay, "lr_factor": hint.lr_factor}
        for hint, params in groups.items()
    ]


def _is_matrix(parameter: nn.Parameter) -> bool:
    return sum(size > 1 for size in parameter.shape) > 1


_CONTAINERS = (nn.Sequential, nn.ModuleList)


def layer_factors(model: nn.Module, decay: Optional[float]) -> Dict[nn.Parameter, float]:
    """
    Return decay^(blocks after its own) for each parameter of *model*; empty if *decay* is None.

    A block is a part of the network, in the order of its definition, that is not just a sequence of
    parts: a residual block with its contents, a convolution outside of blocks, the head. A
    normalizer belongs to the block before it, because it follows that block's convolution.

    Source:
        Clark et al., "ELECTRA", arXiv:2003.10555, section 3.1, where the rates fall from layer to
        layer; Bao et al., "BEiT", arXiv:2106.08254, where they fall from block to block.
    """
    if decay is None:
        return {}
    blocks = [block for block in _blocks(model) if block]
    return {
        parameter: decay ** (len(blocks) - 1 - i)
        for i, block in enumerate(blocks)
        for parameter in block
    }


def _blocks(model: nn.Module) -> List[List[nn.Parameter]]:
    found: List[List[nn.Parameter]] = [list(model.parameters(recurse=False))]
    for part in _parts(model):
        parameters = list(part.parameters())
        if found[-1] and not any(p.dim() > 1 for p in parameters):
            found[-1] += parameters
        else:
            found.append(parameters)
    return found


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, _CONTAINERS):
            yield from _parts(child)
        else:
            yield child
