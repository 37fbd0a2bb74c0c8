"""The updates of a pack: its members' gradients as one matrix, clipped and applied at once."""

from __future__ import annotations

from functools import partial
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from normlab.errors import InvalidSpec
from normlab.norms import clipped_together
from normlab.specs.jobs import JobSpec
from normlab.training.clipping import clip_units, clipped_units
from normlab.training.optimizers import make_optimizer, parameter_groups, scaled_rate
from normlab.training.packs.network import PackedNetwork
from normlab.training.packs.update_rules import RULES, UpdateInputs

_TOGETHER_NORM = 1.0  # as in the training of a job alone
_TINY = 1e-6  # as in torch's own clipping


class Updates:
    """
    The optimizers of S members, each with its own rate, decay and limits of the gradient.

    Args:
        network: the network whose parameters are updated.
        nets: the networks of the members, which determine how each parameter learns.
        specs: the jobs of the members, with optimizers of one kind.

    Raises:
        InvalidSpec: the optimizer has no form for packs.
    """

    def __init__(
        self, network: PackedNetwork, nets: Sequence[nn.Module], specs: Sequence[JobSpec]
    ) -> None:
        self._blocks = network.parameters
        self._nets, self._specs = nets, specs
        sizes = [block.shape.numel() for block in self._blocks]
        ends = torch.tensor(sizes).cumsum(0).tolist()
        self._columns = {
            block.name: slice(end - size, end)
            for block, size, end in zip(self._blocks, sizes, ends)
        }
        self._sizes = sizes
        like = self._weights()
        self._decay, factors = self._hints(like)
        self._decays = bool(self._decay.any())
        self._factors = None if bool((factors == 1).all()) else factors
        self._limits = _limits(specs, like)
        self._units = _units(nets[0]) if self._limits["clip_ratio"] is not None else []
        clipped = [i for i, spec in enumerate(specs) if spec.optimizer.clip_ratio is not None]
        self._clips_units = torch.tensor(clipped, device=like.device, dtype=torch.long)
        together = self._joint_columns(nets[0])
        self._together = None if together is None else together.to(like.device)
        self._rule = _rule_for(specs, like)
        self.number = 0  # of the last update
        self._rates = like.new_zeros(len(specs), 1)

    def prepare(self, rates: Sequence[float]) -> None:
        """Set the members' rates for the next update, in the tensors that a recording reads."""
        self._rates.copy_(self._rates.new_tensor(rates).unsqueeze(1))

    def count(self) -> None:
        """Begin the next update: store the numbers that depend on it where `step` reads them."""
        self.number += 1
        self._rule.count(self.number)

    def step(self) -> None:
        """
        Change the weights by the existing gradients.

        It uses no number from the host, so that a recording of it can be replayed.
        """
        with torch.no_grad():
            absent, gradient = self._absent(), self._gradient()
            self._clip(gradient)
            weights = self._weights() if self._decays else None
            rate = self._rates if self._factors is None else self._rates * self._factors
            now = UpdateInputs(gradient, weights, self._decay, rate)
            change = self._rule.change if absent is None else partial(self._change_rest, absent)
            self._take_off(change(now))

    def forget_gradients(self) -> None:
        """Drop the gradients of the previous update."""
        for block in self._blocks:
            for tensor in block.tensors:
                tensor.grad = None

    def state_of(self, member: int) -> Dict[str, Any]:
        """Return the state of one member's optimizer in torch's form."""
        optimizer = make_optimizer(self._nets[member], self._specs[member])
        rows = {name: state[member] for name, state in self._rule.state.items()}
        for name, parameter in self._nets[member].named_parameters():
            own = {key: row[self._columns[name]] for key, row in rows.items()}
            state: Dict[str, Any] = {k: v.view_as(parameter).clone() for k, v in own.items()}
            if self._rule.counts:
                state["step"] = torch.tensor(float(self.number))
            optimizer.state[parameter] = state
        return optimizer.state_dict()

    def load_state_of(self, member: int, state: Dict[str, Any]) -> None:
        """Load the state of one member's optimizer, in torch's form."""
        optimizer = make_optimizer(self._nets[member], self._specs[member])
        optimizer.load_state_dict(state)
        for name, parameter in self._nets[member].named_parameters():
            for key, matrix in self._rule.state.items():
                own = optimizer.state[parameter].get(key)  # there is none without momentum
                if own is not None:
                    matrix[member, self._columns[name]] = own.flatten()
            if self._rule.counts:  # the same for all
                self.number = int(optimizer.state[parameter]["step"])

    def _matrix(self, tensors: Sequence[Sequence[Tensor]]) -> Tensor:
        rows = [
            [tensor.reshape(-1, size) for tensor in own] for size, own in zip(self._sizes, tensors)
        ]
        return torch.cat([own[0] if len(own) == 1 else torch.cat(own) for own in rows], dim=1)

    def _absent(self) -> Optional[Tensor]:
        """Return where there is no gradient, (S, P); None if there is one everywhere."""
        if all(t.grad is not None for block in self._blocks for t in block.tensors):
            return None
        without = [[_is_absent(t) for t in block.tensors] for block in self._blocks]
        return self._matrix(without)

    def _change_rest(self, absent: Tensor, now: UpdateInputs) -> Tensor:
        # as in torch: a weight without a gradient, such as a fixed ratio, keeps its value and its
        # state
        before = {name: state.clone() for name, state in self._rule.state.items()}
        change: Tensor = self._rule.change(now).masked_fill_(absent, 0.0)
        for name, state in self._rule.state.items():
            state.copy_(torch.where(absent, before[name], state))
        return change

    def _gradient(self) -> Tensor:
        return self._matrix([[_gradient_of(t) for t in block.tensors] for block in self._blocks])

    def _weights(self) -> Tensor:
        return self._matrix([[t.detach() for t in block.tensors] for block in self._blocks])

    def _take_off(self, change: Tensor) -> None:
        for block, part in zip(self._blocks, torch.split(change, self._sizes, dim=1)):
            for tensor, members in block.spans():
                tensor.sub_(part[members].reshape(tensor.shape))

    def _clip(self, gradient: Tensor) -> None:
        if self._together is not None:
            part = gradient[:, self._together]
            gradient[:, self._together] = part * _factor(part, _TOGETHER_NORM)
        if self._limits["clip_norm"] is not None:
            gradient.mul_(_factor(gradient, self._limits["clip_norm"]))
        if self._limits["clip_value"] is not None:
            most = self._limits["clip_value"]
            torch.minimum(torch.maximum(gradient, -most, out=gradient), most, out=gradient)
        for name, dims in self._units:
            block = next(block for block in self._blocks if block.name == name)
            weights = torch.stack(block.of_members())
            self._clip_units(gradient[:, self._columns[name]], weights, [dim + 1 for dim in dims])

    def _clip_units(self, gradient: Tensor, weights: Tensor, dims: Sequence[int]) -> None:
        clipped = self._clips_units  # the gradients of other members may be infinite
        own = gradient[clipped].view(-1, *weights.shape[1:])
        limits = self._limits["clip_ratio"][clipped].view(-1, *[1] * (weights.dim() - 1))
        clip_units(weights[clipped], own, dims, limits)
        gradient.index_copy_(0, clipped, own.flatten(1))

    def _hints(self, like: Tensor) -> Tuple[Tensor, Tensor]:
        decay, factors = torch.zeros_like(like), torch.ones_like(like)
        for member, (net, spec) in enumerate(zip(self._nets, self._specs)):
            names = {id(p): name for name, p in net.named_parameters()}
            for group in parameter_groups(net, spec):
                for parameter in group["params"]:
                    columns = self._columns[names[id(parameter)]]
                    decay[member, columns] = group["weight_decay"]
                    factors[member, columns] = group["lr_factor"]
        return decay, factors

    def _joint_columns(self, net: nn.Module) -> Any:
        names = {id(p): name for name, p in net.named_parameters()}
        parts = [self._columns[names[id(p)]] for p in clipped_together(net)]
        if not parts:
            return None
        return torch.cat([torch.arange(part.start, part.stop) for part in parts])


def _is_absent(parameter: Tensor) -> Tensor:
    return torch.full_like(parameter, parameter.grad is None, dtype=torch.bool)


def _gradient_of(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _factor(gradient: Tensor, most: Any) -> Tensor:
    norms = gradient.norm(dim=1, keepdim=True)
    # filled in on the device: a copy from the host cannot be recorded
    limits = most if isinstance(most, Tensor) else torch.full_like(norms, most)
    factor = (limits / (norms + _TINY)).clamp(max=1.0)
    # without a limit, even a norm that overflows must change nothing
    return torch.where(limits.isinf(), torch.ones_like(factor), factor)


def _limits(specs: Sequence[JobSpec], like: Tensor) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    for name in ("clip_norm", "clip_ratio", "clip_value"):
        given = [getattr(spec.optimizer, name) for spec in specs]
        limits = [float("inf") if limit is None else limit for limit in given]
        every = all(limit is None for limit in given)
        found[name] = None if every else like.new_tensor(limits).unsqueeze(1)
    return found


def _units(net: nn.Module) -> List[Tuple[str, Sequence[int]]]:
    names = {id(p): name for name, p in net.named_parameters()}
    return [(names[id(unit.parameter)], unit.dims) for unit in clipped_units(net)]


def _rule_for(specs: Sequence[JobSpec], like: Tensor) -> Any:
    optimizer = specs[0].optimizer
    rule = RULES.get(type(optimizer))
    if rule is None:
        raise InvalidSpec(
            f"optimizer.name: {optimizer.name!r} cannot train packs; use pack: off, or one of "
            f"{', '.join(str(kind.model_fields['name'].default) for kind in RULES)}"
        )
    rates = [scaled_rate(spec.optimizer, spec.samples_per_update) for spec in specs]
    return rule([spec.optimizer for spec in specs], rates, like)
