"""A model whose normalizers take their statistics over all samples of a batch."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator, Optional, Tuple, Type

import torch.nn.functional as F
from torch import Tensor, nn

from normlab.diagnostics.sites import TORCH_NORMS
from normlab.diagnostics.untouched import replica
from normlab.norms.activation_norm import ActivationNorm
from normlab.norms.batch_renorm import BatchRenorm
from normlab.norms.online import OnlineNorm, scale_layer
from normlab.norms.streaming import StreamingNorm

_WITH_HISTORY: Tuple[Type[ActivationNorm], ...] = (OnlineNorm, StreamingNorm, BatchRenorm)


@contextmanager
def normalizing_replica(model: nn.Module) -> Iterator[nn.Module]:
    """Yield a copy of *model* with normalizers in training mode and all else in evaluation mode."""
    with replica(model) as twin:
        for module in twin.modules():
            module.training = isinstance(module, (ActivationNorm, *TORCH_NORMS))
        yield twin


@contextmanager
def full_statistics_replica(model: nn.Module) -> Iterator[nn.Module]:
    """
    Yield a copy of *model* that takes all samples as one batch and uses that batch's statistics.

    All samples are one virtual batch. Normalizers with a history (online, streaming, renormalized)
    use the moments of the batch instead, which their running moments estimate. Parameters keep
    their names.
    """
    with normalizing_replica(model) as twin:
        join_virtual_batches(twin)
        for module in list(twin.modules()):
            for name, child in module.named_children():
                if isinstance(child, _WITH_HISTORY):
                    module._modules[name] = _BatchMoments(child)
        yield _BatchMoments(twin) if isinstance(twin, _WITH_HISTORY) else twin


def join_virtual_batches(model: nn.Module) -> None:
    """Let the normalizers of *model* take their statistics over whole batches."""
    for module in model.modules():
        if getattr(module, "virtual_batch_size", None) is not None:
            module.virtual_batch_size = None  # type: ignore[assignment]


class _BatchMoments(ActivationNorm):
    """*norm* with the batch's own moments; it keeps its compensation of errors, if it has one."""

    def __init__(self, norm: ActivationNorm) -> None:
        super().__init__(norm.num_features, norm.eps, norm.affine, norm.dims)
        self.weight, self.bias = norm.weight, norm.bias
        self.folds_affine = norm.folds_affine
        self._options: Any = norm.options if isinstance(norm, OnlineNorm) else None

    def normalize(self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
        """Normalize over the batch."""
        z = F.batch_norm(x, None, None, weight, bias, True, 0.0, self.eps)
        if self._options is not None and self._options.clamp is not None:
            z = z.clamp(-self._options.clamp, self._options.clamp)
        if self._options is not None and self._options.group_size is not None:
            z = scale_layer(z, self._options.group_size, self._options.scaling_eps)
        return z
