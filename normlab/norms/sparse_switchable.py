"""Sparse switchable normalization: a mixture of statistics that turns into one of them."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple, Union

import torch
from torch import Tensor, nn

from normlab.norms import capture, engine_triton
from normlab.norms.activation_norm import ParameterHint
from normlab.norms.once import gradients_again
from normlab.norms.solve_forms import Form, Ratios
from normlab.norms.sparsestmax import sparsestmax
from normlab.norms.sparsestmax_numbers import project
from normlab.norms.switchable import Numbers, SwitchableNorm
from normlab.norms.typed_bases import Function
from normlab.specs.norms_mixed import SparseSwitchableNormSpec

_DEFAULTS = SparseSwitchableNormSpec()


class SparseSwitchableNorm(SwitchableNorm):
    """
    Normalize by a SparsestMax mixture of instance, layer and batch statistics.

    This is SwitchableNorm with p = SparsestMax(mean_weight; r) and q = SparsestMax(var_weight; r),
    the nearest points of the simplex with at least the distance r from its centre. The radius r
    grows from 0 to *radius_end* with the run's progress. From sqrt((K - 1) / K) on, for K choices,
    p and q are one-hot. Ratios that have become one-hot in training stay one-hot: their logits are
    set to the ratios and stop learning, and statistics that are not chosen are not computed.

    Args:
        num_features: C, the number of channels.
        eps: added to the mixed variance.
        affine: learn weight and bias.
        dims: 1, 2 or 3 dimensions of positions.
        momentum: weight of the new value in the running statistics; None averages all values.
        virtual_batch_size: number of samples that share the batch's statistics; None is all.
        unbiased_reference: whether to use the unbiased instance variance, like the authors' code.
        running: "moving" or "average", as in `SwitchableNorm`.
        batch_statistics: whether to mix batch statistics too, or only instance and layer.
        variant: "paper" for the projection that the paper defines, "reference" for the one that
            the authors' code computes.
        radius: a fixed radius; if None, it follows `set_progress`.
        radius_end: the radius at the end of the run.

    Shape:
        (N, C, positions...) -> the same, dtype kept.

    Raises:
        InvalidSpec: an option is out of range.

    Source:
        Shao et al., "SSN: Learning Sparse Switchable Normalization via SparsestMax", 2019,
        arXiv:1903.03793.
    """

    reads = ("radius",)

    radius: Tensor
    mean_fixed: Tensor
    var_fixed: Tensor

    def __init__(
        self,
        num_features: int,
        eps: float = _DEFAULTS.eps,
        affine: bool = _DEFAULTS.affine,
        dims: int = 2,
        momentum: Optional[float] = _DEFAULTS.momentum,
        virtual_batch_size: Optional[int] = _DEFAULTS.virtual_batch_size,
        unbiased_reference: bool = _DEFAULTS.unbiased_reference,
        variant: str = _DEFAULTS.variant,
        radius: Optional[float] = _DEFAULTS.radius,
        radius_end: float = _DEFAULTS.radius_end,
        running: str = _DEFAULTS.running,
        batch_statistics: bool = _DEFAULTS.batch_statistics,
    ) -> None:
        super().__init__(
            num_features,
            eps,
            affine,
            dims,
            momentum,
            virtual_batch_size,
            unbiased_reference=unbiased_reference,
            running=running,
            batch_statistics=batch_statistics,
        )
        SparseSwitchableNormSpec.checked(
            num_features, variant=variant, radius=radius, radius_end=radius_end
        )
        self.variant = variant
        self.radius_end = radius_end
        self.follows_progress = radius is None
        self.register_buffer("radius", torch.tensor(float(radius or 0.0)))
        self.register_buffer("mean_fixed", torch.tensor(False))
        self.register_buffer("var_fixed", torch.tensor(False))

    def set_progress(self, fraction: float) -> None:
        """Increase the radius with the run's progress, unless it is fixed."""
        if self.follows_progress:
            self.radius.fill_(fraction * self.radius_end)

    def ratios(self, mean_weight: Tensor, var_weight: Tensor) -> Tuple[Tensor, Tensor]:
        """Return the weights of `choices` in the mean and in the variance."""
        if capture.is_on(mean_weight):
            p, q = self._project([mean_weight, var_weight])
            p = torch.where(self.mean_fixed, mean_weight.detach(), p)
            return p, torch.where(self.var_fixed, var_weight.detach(), q)
        mean_fixed, var_fixed = bool(self.mean_fixed), bool(self.var_fixed)
        learning = [w for w, f in ((mean_weight, mean_fixed), (var_weight, var_fixed)) if not f]
        found = self._project(learning)
        p = mean_weight.detach() if mean_fixed else found[0]
        return p, var_weight.detach() if var_fixed else found[-1]

    def _form(self, x: Tensor) -> Optional[Form]:
        form = super()._form(x)
        if form is None or engine_triton.kernels_for(x) is None or not torch.is_grad_enabled():
            return form
        # no gradient of zero, because an optimizer with momentum would move fixed logits by it
        fixed = torch.stack([self.mean_fixed, self.var_fixed]).tolist()
        return form._replace(learns=(not fixed[0], not fixed[1]))

    def ratios_by(
        self, kernels: Any, mean_weight: Tensor, var_weight: Tensor, freeze: bool = False
    ) -> Ratios:
        """Return `ratios` and their derivatives, or *freeze* one-hot ones, by Triton *kernels*."""
        logits, fixed = (mean_weight, var_weight), (self.mean_fixed, self.var_fixed)
        found: Ratios = kernels.sparsestmax(logits, fixed, self.radius, self.variant, freeze)
        return found

    def numbers(self) -> Tuple[Numbers, Numbers]:
        """Return the ratios as plain numbers, and their derivatives; fixed ratios have none."""
        of_mean = self._numbers(self.mean_weight, self.mean_fixed)
        return of_mean, self._numbers(self.var_weight, self.var_fixed)

    def _numbers(self, logits: Tensor, fixed: Tensor) -> Numbers:
        values = tuple(logits.tolist())
        return (values, ()) if bool(fixed) else _projected(values, float(self.radius), self.variant)

    def track(self, mean: Tensor, var: Tensor) -> None:
        """Update the running statistics; in a captured graph or kernel, only if they are chosen."""
        logits, batch = (self.mean_weight, self.var_weight), self.choices.index("batch")
        unused = (self.mean_fixed, self.var_fixed, *(w.detach()[batch] for w in logits))
        if self.running == "moving" and self.track_by_kernels(mean, var, self.running_var, unused):
            return
        if not capture.is_on(mean) and engine_triton.kernels_for(mean) is None:
            super().track(mean, var)
            return
        still = unused[0] & unused[1] & (unused[2] == 0) & (unused[3] == 0)
        before = {name: getattr(self, name).clone() for name in SwitchableNorm.moved}
        super().track(mean, var)
        for name, old in before.items():
            moved: Tensor = getattr(self, name)
            moved.copy_(torch.where(still, old, moved))

    @torch.no_grad()
    def begin(self, x: Tensor) -> None:
        """Freeze ratios that have become one-hot."""
        kernels = None if self.plain else engine_triton.kernels_for(x)
        if kernels is not None and self.mean_weight.dtype == torch.float32:
            self.ratios_by(kernels, self.mean_weight, self.var_weight, freeze=True)
            return
        self._freeze_one_hot(self.mean_weight, self.mean_fixed)
        self._freeze_one_hot(self.var_weight, self.var_fixed)

    def _freeze_one_hot(self, logits: Tensor, fixed: Tensor) -> None:
        if capture.is_on(logits):
            (ratio,) = self._project([logits])
            one_hot = ratio.amax() - ratio.amin() >= 1 - torch.finfo(logits.dtype).eps
            logits.copy_(torch.where(one_hot & ~fixed, ratio.round(), logits))
            fixed.logical_or_(one_hot)
            return
        if bool(fixed):
            return
        if self._in_numbers(logits):
            found, _ = _projected(tuple(logits.tolist()), float(self.radius), self.variant)
        else:
            found = self._project([logits])[0].tolist()
        if max(found) - min(found) >= 1 - torch.finfo(logits.dtype).eps:
            logits.copy_(logits.new_tensor([round(ratio) for ratio in found]))
            fixed.fill_(True)

    def _project(self, logits: List[Tensor]) -> Tuple[Tensor, ...]:
        if not logits:
            return ()
        if self._in_numbers(logits[0]):
            ratios: Tuple[Tensor, ...] = _Projection.apply(
                float(self.radius), self.variant, *logits
            )
            return ratios
        # near the centre, float32 would lose the digits of the direction
        radius = self.radius.to(torch.float64, copy=True)  # it may be reset before backward
        return _project_plain(radius, self.variant, logits)

    def _in_numbers(self, logits: Tensor) -> bool:
        return logits.device.type == "cpu" and not self.takes_plain(logits)

    def parameter_hints(self) -> Dict[nn.Parameter, ParameterHint]:
        """Let the logits learn ten times slower, and clip the gradients of all logits together."""
        hint = ParameterHint(lr_factor=0.1, clipped_together=True)
        return {self.mean_weight: hint, self.var_weight: hint}

    def _wanted(self) -> Set[str]:
        if capture.is_on(self.mean_weight) or not (bool(self.mean_fixed) and bool(self.var_fixed)):
            return set(self.choices)
        return {
            self.choices[int(logits.argmax())] for logits in (self.mean_weight, self.var_weight)
        }


# A forward needs it twice: to check whether the ratio is one-hot, and for the ratio.
_projected = lru_cache(maxsize=256)(project)


class _Projection(Function):
    """`sparsestmax` for a few logits on a CPU, where plain numbers are faster than operators."""

    @staticmethod
    def forward(ctx: Any, radius: float, variant: str, *logits: Tensor) -> Tuple[Tensor, ...]:
        found = [_projected(tuple(z.tolist()), radius, variant) for z in logits]
        ctx.radius, ctx.variant = radius, variant
        ctx.jacobians = [f[1] for f in found]  # numbers: later updates do not change them
        ctx.save_for_backward(*logits)
        return tuple(z.new_tensor(f[0]) for z, f in zip(logits, found))

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> Any:
        if torch.is_grad_enabled():  # differentiated again: the Jacobian depends on the logits
            needed = ctx.needs_input_grad[2:]
            ratios = partial(_project_plain, ctx.radius, ctx.variant)
            again = gradients_again(lambda *z: ratios(z), ctx.saved_tensors, g, needed)
            return (None, None, *again)
        return (None, None, *map(_times, g, ctx.jacobians))


def _times(g: Tensor, jacobian: List[List[float]]) -> Tensor:
    """Return g @ jacobian in plain numbers."""
    numbers = g.tolist()
    return g.new_tensor([sum(a * b for a, b in zip(numbers, column)) for column in zip(*jacobian)])


def _project_plain(
    radius: Union[float, Tensor], variant: str, logits: Sequence[Tensor]
) -> Tuple[Tensor, ...]:
    found = (sparsestmax(z.double(), radius, variant) for z in logits)  # type: ignore[arg-type]
    return tuple(ratio.to(z.dtype) for ratio, z in zip(found, logits))
