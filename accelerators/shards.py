"""A model divided among replicas by torch's fully sharded data parallelism (FSDP2)."""

from __future__ import annotations

from collections import Counter
from typing import Any, Dict, Iterator, List, Optional

import torch
import torch.distributed as dist
from torch import Tensor, nn

from normlab.errors import UnsupportedModel

_FORM = ("foreach", "fused")  # options of an optimizer that are no state: they choose its code
_PARTS = 8  # about one such part of a model's values is gathered at a time


class Shards:
    """
    The parts of models that this replica holds: of weights, gradients and optimizer state.

    torch gathers the weights of a block before the block computes, and frees them afterwards.
    Gradients are averaged and divided as soon as a block has them. The rows of a parameter are
    divided into as many contiguous parts as there are replicas.

    Args:
        device: `cpu` or `cuda`.
        rank: this replica's rank in the default group of torch.distributed.
    """

    def __init__(self, device: str, rank: int) -> None:
        from torch.distributed.device_mesh import DeviceMesh

        self._rank = rank
        self._mesh = DeviceMesh.from_group(dist.group.WORLD, device)  # type: ignore[arg-type]

    def divide(self, model: nn.Module) -> None:
        """
        Divide *model*, whose parameters become distributed tensors.

        Raises:
            UnsupportedModel: the model has a parameter without rows.
        """
        from torch.distributed.fsdp import fully_shard

        for name, parameter in model.named_parameters():
            if parameter.dim() == 0:
                raise UnsupportedModel(
                    f"sharding 'full' divides the rows of each parameter, and {name} is a single "
                    "number without rows; set sharding to 'off'"
                )
            parameter.data = parameter.data.contiguous()
        for module in [*blocks(model), model]:
            fully_shard(module, mesh=self._mesh, reshard_after_forward=True)

    def whole(self, value: Any) -> Any:
        """
        Gather *value*, a tensor or nested dictionaries and lists; all replicas call this together.

        Returns:
            At replica 0, the whole value on the host; at others, the same without divided tensors.
        """
        if is_divided(value):
            return self._gathered(value.detach())
        if isinstance(value, Tensor):
            return value.detach().cpu().clone()
        if isinstance(value, dict):
            return {key: self.whole(item) for key, item in value.items()}
        return [self.whole(item) for item in value] if isinstance(value, list) else value

    def _gathered(self, value: Any) -> Optional[Tensor]:
        # not by full_tensor, whose asynchronous collectives have crashed in gloo
        mine = value.to_local()
        part = mine.new_zeros(-(-len(value) // self._mesh.size()), *value.shape[1:])
        part[: len(mine)] = mine
        parts = [torch.empty_like(part) for _ in range(self._mesh.size())]
        dist.gather(part, parts if self._rank == 0 else None)
        return torch.cat(parts)[: len(value)].cpu() if self._rank == 0 else None

    def part_of(self, whole: Tensor, like: Any) -> Tensor:
        """Return *whole* divided like the distributed tensor *like* of the same shape."""
        from torch.distributed.tensor import DTensor

        mine = torch.chunk(whole, self._mesh.size())[self._rank :][:1]
        local = mine[0].contiguous() if mine else whole.new_empty(0, *whole.shape[1:])
        return DTensor.from_local(
            local.to(like.to_local()),
            self._mesh,
            like.placements,
            shape=whole.shape,  # replicas may have different numbers of rows
            stride=whole.stride(),
        )

    def load(self, model: nn.Module, whole: Dict[str, Tensor]) -> None:
        """Load the parameters and buffers *whole* into the divided *model*."""
        own = model.state_dict()
        model.load_state_dict(
            {
                name: self.part_of(value, own[name]) if is_divided(own.get(name)) else value
                for name, value in whole.items()
            }
        )

    def load_optimizer(self, optimizer: torch.optim.Optimizer, whole: Dict[str, Any]) -> None:
        """Load the state *whole* into the *optimizer* of a divided model."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        state = {
            number: {
                name: self.part_of(value, parameters[number])
                if isinstance(value, Tensor) and value.shape == parameters[number].shape
                else value
                for name, value in values.items()
            }
            for number, values in whole["state"].items()
        }
        groups = [
            {**theirs, **{name: ours[name] for name in _FORM if name in ours}}
            for theirs, ours in zip(whole["param_groups"], optimizer.param_groups)
        ]
        optimizer.load_state_dict({"state": state, "param_groups": groups})


def is_divided(value: Any) -> bool:
    """Return whether *value* is a tensor of which each replica holds a part."""
    return isinstance(value, Tensor) and hasattr(value, "full_tensor")


def blocks(model: nn.Module) -> List[nn.Module]:
    """
    List the parts of *model* that are gathered one at a time, inner parts before outer ones.

    They are members of sequences, because these are called as modules. A block has at least an
    eighth of the model's values, without those of inner blocks, and shares no parameter with
    modules outside of it.
    """
    least = sum(p.numel() for p in model.parameters()) / _PARTS
    everywhere = _uses(model)
    found: List[nn.Module] = []
    taken: Counter[int] = Counter()
    for module in _members(model):
        uses = _uses(module)
        own = [p for p in module.parameters() if not taken[id(p)]]
        tied = any(everywhere[p] > n for p, n in uses.items())
        if not tied and sum(p.numel() for p in own) >= max(least, 1):
            found.append(module)
            taken.update(id(p) for p in own)
    return found


def _members(model: nn.Module) -> Iterator[nn.Module]:
    """List the members of sequences in *model*, children before their parents."""
    for module in reversed(list(model.modules())):
        if isinstance(module, (nn.Sequential, nn.ModuleList)):
            yield from (m for m in module if not isinstance(m, nn.ModuleList))


def _uses(module: nn.Module) -> Counter[int]:
    """Count the occurrences of each parameter in *module*, by identity."""
    return Counter(id(p) for m in module.modules() for p in m._parameters.values() if p is not None)
