"""Online Normalization: statistics of earlier samples, and a control process in backward."""

from __future__ import annotations

from typing import Any, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from normlab.errors import InvalidSpec
from normlab.norms import capture, online_fused, online_registered, online_triton, passes
from normlab.norms.activation_norm import ActivationNorm
from normlab.norms.finite import count_unless, finiteness, keep
from normlab.norms.online_coefficients import OnlineOptions
from normlab.norms.online_passes import Normalize
from normlab.norms.turns import Turns
from normlab.specs.devices import those
from normlab.specs.norms_over_samples import OnlineNormSpec

_DEFAULTS = OnlineNormSpec()


class OnlineNorm(ActivationNorm):
    """
    Normalize each sample by running statistics of earlier samples, also of those in its batch.

    Forward, for sample t, with its moments mu(x) and v(x) over positions (v = 0 if there are none):
        y = (x - mu) / sqrt(var + eps)
        var' = a var + (1 - a) v(x) + a (1 - a) (mu(x) - mu)^2
        mu' = mu + (1 - a) (mu(x) - mu)
        z = weight * y + bias, then error compensation
    Backward, with the gradient h of y, s = sqrt(var + eps) from forward, and means over positions:
        x'' = h - (1 - b) v y,       v' = v + mean(x'' y)
        x' = x'' / s - (1 - b) u,    u' = u + mean(x'), the gradient of x

    Both are linear recurrences. They are computed for a whole batch as scans over (N, C), which
    equal the loop over samples up to rounding. The state is (C,): mu, var, and also v and u, which
    backward changes. Non-finite values change neither pair; for mu and var, nonfinite_statistics
    counts them.

    Error compensation: "layer_scaling", which is the default of the paper and ours, divides z of
    each sample by its root mean square over channels and positions. "clamp" limits z. "none" does
    nothing.

    Each backward pass must come before the next training forward. Gradient accumulation,
    evaluation, forwards under no_grad and activation checkpointing are safe.

    Args:
        num_features: C, the number of channels.
        eps: added to the running variance.
        affine: learn weight and bias.
        dims: 1, 2 or 3 dimensions of positions.
        alpha_forward: a, the decay of mu and var.
        alpha_backward: b, the decay of the control of the gradient.
        error_compensation: "layer_scaling", "clamp" or "none".
        clamp_value: limit of |z|, with "clamp".
        layer_scaling_eps: added to the mean square of z.
        layer_scaling_group_size: number of channels that are scaled together; None is all.

    Shape:
        (N, C, positions...) -> the same, dtype kept; any N.

    Raises:
        InvalidSpec: an option is out of range, or plain operators are asked for in training.
        Conflict: raised by a second backward of one forward, or if another forward waits for its
            backward.

    Source:
        Chiley et al., "Online Normalization for Training Neural Networks", NeurIPS 2019,
        arXiv:1905.05894, eq. 8, 11 and 12. The authors' code clamps by default since 2020, and
        their compiled kernels keep the state in float32 for float64 input; ours follows the input.
    """

    folds_affine = False
    moved = ("mu", "var", "nonfinite_statistics")
    reads = ("mu", "var")
    recalls = 1  # the control could not know the order of several

    mu: Tensor
    var: Tensor
    u: Tensor
    v: Tensor
    nonfinite_statistics: Tensor

    def __init__(
        self,
        num_features: int,
        eps: float = _DEFAULTS.eps,
        affine: bool = _DEFAULTS.affine,
        dims: int = 2,
        alpha_forward: float = _DEFAULTS.alpha_forward,
        alpha_backward: float = _DEFAULTS.alpha_backward,
        error_compensation: str = _DEFAULTS.error_compensation,
        clamp_value: float = _DEFAULTS.clamp_value,
        layer_scaling_eps: float = _DEFAULTS.layer_scaling_eps,
        layer_scaling_group_size: Optional[int] = _DEFAULTS.layer_scaling_group_size,
    ) -> None:
        super().__init__(num_features, eps, affine, dims)
        OnlineNormSpec.checked(
            num_features,
            alpha_forward=alpha_forward,
            alpha_backward=alpha_backward,
            error_compensation=error_compensation,
            clamp_value=clamp_value,
            layer_scaling_eps=layer_scaling_eps,
            layer_scaling_group_size=layer_scaling_group_size,
        )
        size = layer_scaling_group_size or num_features
        self.error_compensation = error_compensation
        self.options = OnlineOptions(
            alpha_forward,
            alpha_backward,
            eps,
            size if error_compensation == "layer_scaling" else None,
            layer_scaling_eps,
            clamp_value if error_compensation == "clamp" else None,
        )
        self.register_buffer("mu", torch.zeros(num_features))
        self.register_buffer("var", torch.ones(num_features))
        self.register_buffer("u", torch.zeros(num_features))
        self.register_buffer("v", torch.zeros(num_features))
        self.register_buffer("nonfinite_statistics", torch.tensor(0.0), persistent=False)
        self._turns = Turns()

    def normalize(self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
        """Normalize by the running statistics, and update them in training."""
        if not self.training:
            return self._evaluate(x, weight, bias)
        if self.plain:
            raise InvalidSpec(
                "'online' has no form in plain operators: its backward is a control process, not "
                f"the derivative of its forward; train it on {those(lambda d: not d.traced)}, or "
                "choose a kind such as 'group'"
            )
        self._keep_state_in(passes.statistics_dtype(x))
        if capture.is_on(x):
            return online_registered.normalize(self, x, weight, bias)
        y: Tensor = _function_for(x).apply(x, weight, bias, self)
        return y

    def start(self) -> Tuple[Tensor, Tensor]:
        """Return the mu and var that a forward starts from."""
        return self.mu, self.var

    def move(self, mu: Tensor, var: Tensor) -> None:
        """Set the statistics after a forward, if they are finite."""
        if online_triton.keep((self.mu, self.var), (mu, var), self.nonfinite_statistics):
            return
        finite = finiteness(mu, var)
        # in place, so that buffers given by torch.func.functional_call change too
        keep(self.mu, mu, finite)
        keep(self.var, var, finite)
        count_unless(finite, self.nonfinite_statistics)

    def move_control(self, control: Tuple[Tensor, Tensor], u: Tensor, v: Tensor) -> None:
        """Set the forward's *control* to *u* and *v* after a backward, if they are finite."""
        if online_triton.keep(control, (u, v)):
            return
        finite = finiteness(u, v)
        for state, new in zip(control, (u, v)):
            keep(state, new, finite)

    def extra_repr(self) -> str:
        """Show what the constructor was given."""
        o = self.options
        return (
            f"{super().extra_repr()}, alpha_forward={o.alpha_forward:g}, "
            f"alpha_backward={o.alpha_backward:g}, error_compensation={self.error_compensation!r}"
        )

    def open_turn(self) -> Any:
        """Record that a forward waits for its backward."""
        return self._turns.open()

    def take_turn(self, turn: Any) -> None:
        """Allow a backward; raise `Conflict` if it would corrupt the state."""
        self._turns.take(turn, f"{type(self).__name__}({self.num_features})")

    def _keep_state_in(self, dtype: torch.dtype) -> None:
        for name in ("mu", "var", "u", "v"):
            state: Tensor = getattr(self, name)
            if state.dtype != dtype:
                setattr(self, name, state.to(dtype))

    def _evaluate(self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
        dtype = passes.statistics_dtype(x)
        w, b = (None if p is None else p.to(dtype) for p in (weight, bias))
        mu, var = self.mu.to(dtype), self.var.to(dtype)
        z = F.batch_norm(x.to(dtype), mu, var, w, b, False, 0.0, self.eps)
        if self.options.clamp is not None:
            z = z.clamp(-self.options.clamp, self.options.clamp)
        if self.options.group_size is not None:
            z = scale_layer(z, self.options.group_size, self.options.scaling_eps)
        return z.to(x.dtype)


def _function_for(x: Tensor) -> Any:
    for fused in (online_fused, online_triton):
        if fused.serves(x):
            return fused.Normalize
    return Normalize


def scale_layer(z: Tensor, group_size: int, eps: float = 1e-5) -> Tensor:
    """
    Divide *z* by its root mean square over positions and over groups of *group_size* channels.

    z / sqrt(mean(z^2) + eps) for each sample.

    Shape:
        (N, C, positions...) -> the same

    Source:
        Chiley et al., arXiv:1905.05894, layer scaling.
    """
    grouped = z.reshape(z.shape[0], z.shape[1] // group_size, -1)
    power = grouped.square().mean(2, keepdim=True)
    return (grouped * (power + eps).rsqrt()).view(z.shape)
