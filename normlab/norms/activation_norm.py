"""The base class of all normalizers of activations: affine, checks, and choice of operators."""

from __future__ import annotations

from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn

from normlab.errors import Conflict, InvalidSpec
from normlab.norms import capture, registered, registered_replays
from normlab.norms.following import Following
from normlab.norms.recomputation import Recalled, in_backward
from normlab.specs.norm_base import ActivationNormSpec

_DEFAULTS = ActivationNormSpec()

# the C function, because every forward calls it; missing in PyTorch 2.0
_any_autocast: Callable[[], bool] = getattr(torch._C, "_is_any_autocast_enabled", lambda: True)
_AUTOCAST_BY_DEVICE = hasattr(torch, "get_autocast_dtype")  # since torch 2.4

_HALVES = (torch.float16, torch.bfloat16)

_SHAPES = {
    1: "(N, C) or (N, C, L)",
    2: "(N, C, H, W)",
    3: "(N, C, D, H, W)",
}


class ParameterHint(NamedTuple):
    """The special way in which a parameter is learned, unlike other parameters of the network."""

    weight_decay: float = 0.0
    lr_factor: float = 1.0
    clipped_together: bool = False


class ActivationNorm(nn.Module):
    """
    A normalizer with an optional scale and shift for each channel.

    Subclasses implement `normalize`, a function of the input and the affine. So the
    proxy-normalized activation can replace the norm's affine by its own.

    Args:
        num_features: C, the number of channels.
        eps: added to the variance; same unit as x squared.
        affine: whether to learn weight and bias; otherwise they are 1 and 0.
        dims: 1, 2 or 3 dimensions of positions.

    Raises:
        InvalidSpec: an argument is out of range, or an input has another shape.
    """

    folds_affine = True  # y = weight * (something) + bias, with nothing after it
    any_dims = False  # accepts any number of dimensions of positions, not only dims
    on_engine = False  # its training forward is one map that includes *following*
    evaluates_on_engine = False  # the same in evaluation
    follows_on_vectors = False  # its map includes *following* for (N, C) too
    following: Optional[Following] = None  # what the map of the present forward includes
    plain = False  # no custom autograd function: any backend can differentiate it
    moved: Tuple[str, ...] = ()  # buffers that a training forward moves
    reads: Tuple[str, ...] = ()  # buffers that its output in training depends on
    begun: Tuple[str, ...] = ()  # buffers that `begin` moves too, always to new values
    recalls = 64  # forwards that activation checkpoints may recompute, at most
    decisive: Tuple[str, ...] = ()  # parameters that change their meaning in a lower precision

    def __init__(
        self,
        num_features: int,
        eps: float = _DEFAULTS.eps,
        affine: bool = _DEFAULTS.affine,
        dims: int = 2,
    ) -> None:
        super().__init__()
        if num_features < 1:
            raise InvalidSpec(f"{num_features=}: must be 1 or more")
        ActivationNormSpec.checked(num_features, eps=eps, affine=affine)
        if dims not in _SHAPES:
            raise InvalidSpec(f"{dims=}: must be 1, 2 or 3, the dimensions of positions")
        self.num_features = num_features
        self.eps = eps
        self.affine = affine
        self.dims = dims
        self._recalled = Recalled(self.recalls, self.reads)
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """Normalize *x*."""
        return self.normalize_with(x, self.weight, self.bias)

    def normalize_with(self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
        """Normalize *x* with the given affine instead of the layer's own."""
        self._check_input(x)
        if x.numel() == 0:
            return _pass_empty(x, weight, bias)
        if not _any_autocast() or not _autocast_is_on(x.device.type):
            return self._normalize_once(x, weight, bias)
        with torch.autocast(x.device.type, enabled=False):  # statistics stay in float32
            return self._normalize_once(x, weight, bias)

    def _normalize_once(
        self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]
    ) -> Tensor:
        if not self.training or not self.moved:
            return self.normalize(x, weight, bias)
        captured = capture.is_on(x)
        if captured and capture.is_compiled() and registered.is_possible():
            return registered_replays.normalize(self, x, weight, bias)
        known = not captured or capture.has_values(x)
        if not known:
            registered.check_first_forward(self)
            self._check_first()
        elif in_backward():
            with self._recalled.replay(self, x):
                return self.normalize(x, weight, bias)
        self.begin(x)
        if known:
            self._recalled.note(self, x)
        return self.normalize(x, weight, bias)

    def followed(
        self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor], following: Following
    ) -> Tensor:
        """Normalize *x* and compute what is *following* in one map, if `can_follow` says so."""
        self.following = following
        try:
            return self.normalize_with(x, weight, bias)
        finally:
            self.following = None

    def with_its_own(self) -> nn.Module:
        """Return the layer with the activation of its kind, if its kind has one."""
        return self

    def without_activation(self) -> nn.Module:
        """Return the form of the layer for places where no activation follows."""
        return self

    def begin(self, x: Tensor) -> None:
        """Prepare a training forward; a recomputed forward does not call it."""

    def normalize(self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
        """Normalize *x*, which is checked and not empty; each subclass implements it."""
        raise NotImplementedError

    def takes_plain(self, x: Tensor) -> bool:
        """Return whether *x* must be computed with plain operators."""
        return self.plain or capture.is_on(x)

    def __prepare_scriptable__(self) -> None:
        raise InvalidSpec(
            f"{type(self).__name__} cannot be compiled by torch.jit.script, which supports only a "
            "part of Python: use torch.compile, or torch.export for a program to keep"
        )

    def _check_first(self) -> None:
        if capture.is_transformed() and in_backward():
            raise Conflict(
                f"a training forward of {type(self).__name__} runs again inside a backward pass "
                "(an activation checkpoint around torch.func), and would move its state twice: "
                "leave the layer out of the checkpoint, or put the checkpoint inside a model that "
                "is trained without torch.func"
            )

    def set_progress(self, fraction: float) -> None:
        """Tell the layer the finished fraction of the training run, in [0, 1]."""

    def parameter_hints(self) -> Dict[nn.Parameter, ParameterHint]:
        """Return the hints for parameters that learn in a special way."""
        return {}

    def extra_repr(self) -> str:
        """Show what the constructor was given."""
        return f"{self.num_features}, eps={self.eps:g}, affine={self.affine}, dims={self.dims}"

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> Any:
        # State and decisions stay in float32 when the layer is cast to half, because a running
        # variance may be above 65504, and a gate of 1e-8 would be 0.
        names = (*self._buffers, *self.decisive)
        kept = [t for t in (getattr(self, name) for name in names) if t is not None]
        wide = {id(t) for t in (*kept, *(t.grad for t in kept if t.is_leaf)) if t is not None}

        def careful(t: Tensor) -> Tensor:
            moved = fn(t)
            if id(t) in wide and moved.dtype in _HALVES:
                return t.to(moved.device, torch.float32)
            return moved

        apply: Any = super()._apply  # its arguments differ between versions of PyTorch
        return apply(careful, *args, **kwargs)

    def _check_input(self, x: Tensor) -> None:
        dims = x.dim()
        right_dims = dims == self.dims + 2 or (self.dims == 1 and dims == 2)
        right_dims = right_dims or (self.any_dims and dims > 1)
        if not right_dims or x.shape[1] != self.num_features:
            raise InvalidSpec(
                f"{type(self).__name__}(num_features={self.num_features}, dims={self.dims}) got "
                f"an input of shape {tuple(x.shape)}; it takes {_SHAPES[self.dims]} "
                f"with C = {self.num_features}"
            )
        if not x.is_floating_point():
            raise InvalidSpec(f"an input of {x.dtype} cannot be normalized; convert it to float")


def _autocast_is_on(device_type: str) -> bool:
    if device_type not in ("cpu", "cuda"):
        return False
    if _AUTOCAST_BY_DEVICE:
        return torch.is_autocast_enabled(device_type)
    return torch.is_autocast_enabled() if device_type == "cuda" else torch.is_autocast_cpu_enabled()


def _pass_empty(x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
    # Without samples there are no statistics, but the parameters still get a gradient of zero.
    y = x * 1
    for parameter in (weight, bias):
        if parameter is not None:
            y = y + parameter.sum().to(x.dtype)
    return y
