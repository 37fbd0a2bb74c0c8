"""
PopTorch's optimizers: torch's, with attributes that are either constant or sent to the device.

Explicit arguments of a constructor may change later and reach the device by `setOptimizer`.
Other arguments are constants of the compiled program. The learning rate may always change.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, FrozenSet, Iterable, List, Mapping, Optional, cast

import torch
from torch import Tensor

from accelerators.poptorch_emulation.errors import Error

State = Dict[str, Tensor]


class IpuOptimizer:
    """The additions of PopTorch's optimizers: variable attributes, and state on the device."""

    variable: FrozenSet[str]
    loss_scaling: float
    max_grad_norm: float
    _pull: Optional[Callable[[], State]] = None
    _push: Optional[Callable[[State], None]] = None
    _waiting: Optional[State] = None

    def _remember(self, explicit: Mapping[str, Any], loss_scaling: float, norm: float) -> None:
        self.variable = frozenset(explicit) | {"lr"}
        self.loss_scaling = loss_scaling
        self.max_grad_norm = norm

    def connect(self, pull: Callable[[], State], push: Callable[[State], None]) -> None:
        """Connect the optimizer to the program that holds its state."""
        self._pull, self._push = pull, push
        if self._waiting is not None:
            push(self._waiting)
            self._waiting = None

    def state_dict(self) -> Dict[str, Any]:
        """Return torch's dictionary, with the state pulled from the device."""
        base: Dict[str, Any] = super().state_dict()  # type: ignore[misc]
        base["ipu_state"] = self._pull() if self._pull else dict(self._waiting or {})
        base["ipu_param"] = {"loss_scaling": self.loss_scaling}
        return base

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Push a state that came from an IPU's optimizer."""
        if "ipu_state" not in state_dict:
            raise Error("Only IPU optimizer states can be loaded onto the IPU.")
        rest = {k: v for k, v in state_dict.items() if not k.startswith("ipu_")}
        super().load_state_dict(rest)  # type: ignore[misc]
        if self._push is None:
            self._waiting = dict(state_dict["ipu_state"])
        else:
            self._push(state_dict["ipu_state"])

    def step(self, closure: Any = None) -> Any:
        """Refuse, because the update is part of the compiled program."""
        raise Error("step() is never called on an IPU: the compiled program updates the weights")


class SGD(IpuOptimizer, torch.optim.SGD):
    """Stochastic gradient descent, as in torch."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        loss_scaling: float = 1.0,
        max_grad_norm: float = float("inf"),
        use_combined_accum: bool = False,
        **explicit: Any,
    ) -> None:
        self._remember(explicit, loss_scaling, max_grad_norm)
        torch.optim.SGD.__init__(self, params, lr=lr, **explicit)


class Adam(IpuOptimizer, torch.optim.Adam):
    """Adam, as in torch."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        *,
        loss_scaling: float = 1.0,
        max_grad_norm: float = float("inf"),
        **explicit: Any,
    ) -> None:
        _refuse_amsgrad(explicit)
        self._remember(explicit, loss_scaling, max_grad_norm)
        torch.optim.Adam.__init__(self, params, lr=lr, **explicit)


class AdamW(IpuOptimizer, torch.optim.AdamW):
    """Adam with decoupled weight decay, as in torch."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        *,
        loss_scaling: float = 1.0,
        max_grad_norm: float = float("inf"),
        bias_correction: bool = True,
        **explicit: Any,
    ) -> None:
        _refuse_amsgrad(explicit)
        if not bias_correction:
            raise Error("bias_correction=False cannot be honoured by the host emulation")
        self._remember(explicit, loss_scaling, max_grad_norm)
        torch.optim.AdamW.__init__(self, params, lr=lr, **explicit)


class RMSprop(IpuOptimizer, torch.optim.RMSprop):
    """RMSprop, as in torch."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        *,
        loss_scaling: float = 1.0,
        use_tf_variant: bool = False,
        **explicit: Any,
    ) -> None:
        if use_tf_variant:
            raise Error("use_tf_variant=True cannot be honoured by the host emulation")
        self._remember(explicit, loss_scaling, float("inf"))
        torch.optim.RMSprop.__init__(self, params, lr=lr, **explicit)


def _refuse_amsgrad(explicit: Mapping[str, Any]) -> None:
    if explicit.get("amsgrad"):
        raise Error("Only non-amsgrad Adam/AdamW optimizers are supported.")


# torch's own optimizers are accepted too; their state is not accessible.
_CONSTANT_IN_TORCHS = {"betas", "alpha", "nesterov", "amsgrad", "centered", "maximize"}
_TORCHS = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop)
_NOT_SENT = {"params", "foreach", "fused", "capturable", "differentiable"}


class DeviceOptimizer:
    """The optimizer inside the program, with its own copy of every attribute, and the state."""

    def __init__(self, optimizer: torch.optim.Optimizer, place: Mapping[int, Tensor]) -> None:
        kind = next((k for k in _TORCHS if isinstance(optimizer, k)), None)
        if kind is None:
            raise Error(
                f"Unsupported optimizer {type(optimizer).__name__}: PopTorch does not use its "
                "Python implementation; use SGD, Adam, AdamW or RMSprop of poptorch.optim"
            )
        self._source = type(optimizer)
        groups = [
            {**group, "params": [place[id(p)] for p in group["params"] if id(p) in place]}
            for group in optimizer.param_groups
        ]
        self._optimizer = cast("Any", kind)(groups, lr=groups[0]["lr"])
        self._max_grad_norm = getattr(optimizer, "max_grad_norm", float("inf"))
        self._constants = _constants(optimizer)
        self.params: List[Tensor] = [p for group in groups for p in group["params"]]

    def update(self, optimizer: torch.optim.Optimizer) -> None:
        """Copy the variable attributes of *optimizer*; refuse changed constants."""
        if type(optimizer) is not self._source:
            raise Error(
                f"the program was compiled for {self._source.__name__}; recompile to change"
            )
        for mine, new in zip(self._optimizer.param_groups, optimizer.param_groups):
            for name, value in new.items():
                if name in _NOT_SENT:
                    continue
                if name in self._constants and mine[name] != value:
                    raise Error(
                        f"optimizer attribute {name!r} was compiled as a constant, {mine[name]}, "
                        f"and cannot become {value}; pass it to the constructor to keep it variable"
                    )
                mine[name] = value
        self._max_grad_norm = getattr(optimizer, "max_grad_norm", float("inf"))

    def step(self, micro_batches: int, mean: bool) -> None:
        """Reduce the gradients of *micro_batches*, then update the weights once."""
        gradients = [p.grad for p in self.params if p.grad is not None]
        if mean and micro_batches > 1:
            torch._foreach_div_(gradients, float(micro_batches))
        if self._max_grad_norm != float("inf"):
            torch.nn.utils.clip_grad_norm_(self.params, self._max_grad_norm)
        self._optimizer.step()
        for p in self.params:
            p.grad = None

    def state(self) -> State:
        """Copy the state, keyed by parameter number and name."""
        return {
            f"{i}.{name}": torch.as_tensor(value).clone()
            for i, p in enumerate(self.params)
            for name, value in self._optimizer.state.get(p, {}).items()
            if value is not None
        }

    def load(self, state: State) -> None:
        """Replace the state."""
        entries: Dict[int, Dict[str, Any]] = {}
        for key, value in state.items():
            number, _, name = key.partition(".")
            entries.setdefault(int(number), {})[name] = value.clone()
        for place, entry in entries.items():
            self._optimizer.state[self.params[place]] = entry


def _constants(optimizer: torch.optim.Optimizer) -> FrozenSet[str]:
    if isinstance(optimizer, IpuOptimizer):
        return frozenset(optimizer.defaults) - optimizer.variable - _NOT_SENT
    return frozenset(_CONSTANT_IN_TORCHS) & frozenset(optimizer.defaults)
