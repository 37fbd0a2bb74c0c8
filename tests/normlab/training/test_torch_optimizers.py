"""The update in one operator for each group, compared with torch's own optimizer bit by bit."""

import copy
from typing import Any, List, Tuple

import pytest
import torch
from torch import Tensor, nn

from normlab.training.torch_optimizers import FusedSGD, sgd

pytestmark = pytest.mark.skipif(
    not hasattr(torch, "_fused_sgd_"), reason="this torch has no fused SGD: it is not used here"
)

RECIPES = [
    {"momentum": 0.0},
    {"momentum": 0.9},
    {"momentum": 0.9, "nesterov": True},
]


def twins(**options: Any) -> Tuple[nn.Module, nn.Module, FusedSGD, torch.optim.Optimizer]:
    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    second = copy.deepcopy(first)
    ours = FusedSGD(groups(first), 0.1, **options, fused=True)
    return first, second, ours, torch.optim.SGD(groups(second), 0.1, **options, fused=True)


def groups(model: nn.Module) -> List[Any]:
    weights = [p for p in model.parameters() if p.dim() > 1]
    biases = [p for p in model.parameters() if p.dim() == 1]
    return [{"params": weights, "weight_decay": 0.01}, {"params": biases, "weight_decay": 0.0}]


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int = 1) -> None:
    made = torch.Generator().manual_seed(seed)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / (1 + step)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=made)
        optimizer.step()


def equal(a: nn.Module, b: nn.Module) -> bool:
    pairs: Any = zip(a.parameters(), b.parameters())
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_updates_are_torchs_own_bit_by_bit(recipe: Any) -> None:
    first, second, ours, theirs = twins(**recipe)
    train(first, ours, 5)
    train(second, theirs, 5)
    assert equal(first, second)


def test_checkpoints_of_both_fit_the_other() -> None:
    first, second, ours, theirs = twins(momentum=0.9)
    train(first, ours, 3)
    train(second, theirs, 3)
    kept = copy.deepcopy((ours.state_dict(), theirs.state_dict()))
    ours.load_state_dict(kept[1])
    theirs.load_state_dict(kept[0])
    train(first, ours, 3, seed=2)
    train(second, theirs, 3, seed=2)
    assert equal(first, second)


def test_a_parameter_whose_gradient_comes_later_starts_then() -> None:
    first, _, ours, _ = twins(momentum=0.9)
    late = next(first.parameters())
    before = late.detach().clone()
    for parameter in first.parameters():
        parameter.grad = None if parameter is late else torch.ones_like(parameter)
    ours.step()
    assert torch.equal(late, before)
    late.grad = torch.ones_like(late)
    ours.step()
    torch.testing.assert_close(ours.state[late]["momentum_buffer"], late.grad + 0.01 * before)


def test_hooks_run_once_an_update() -> None:
    first, _, ours, _ = twins(momentum=0.9)
    torch.optim.SGD(groups(copy.deepcopy(first)), 0.1)  # wraps the step of its own class
    seen: List[str] = []
    ours.register_step_pre_hook(lambda *_: seen.append("before"))
    ours.register_step_post_hook(lambda *_: seen.append("after"))
    train(first, ours, 2)
    assert seen == ["before", "after"] * 2


def test_a_closure_is_evaluated_with_gradients() -> None:
    first, _, ours, _ = twins(momentum=0.9)

    def loss() -> Tensor:
        ours.zero_grad()
        found: Tensor = first(torch.ones(2, 5)).square().mean()
        found.backward()
        return found

    losses: List[Any] = [ours.step(loss) for _ in range(3)]
    assert losses[2] < losses[0]


def test_jobs_on_a_cpu_use_the_lean_update() -> None:
    parameters = [{"params": [nn.Parameter(torch.ones(2))]}]
    assert type(sgd(parameters, 0.1, 0.9, False)) is FusedSGD
