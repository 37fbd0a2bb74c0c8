from __future__ import annotations

import copy
import gc

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from normlab.errors import Conflict
from normlab.norms.online import OnlineNorm
from tests.norms.online_loop import (
    drawn,
    perturbed,
    state_of,
)


def test_evaluation_changes_no_state_even_between_forward_and_backward() -> None:
    torch.manual_seed(0)
    layer = perturbed(4)
    undisturbed = copy.deepcopy(layer)
    x, g = drawn((3, 4, 3, 3))
    undisturbed(x).backward(g)
    y = layer(x)
    before = state_of(layer)
    layer.eval()(x)
    assert all(torch.equal(a, b) for a, b in zip(state_of(layer), before))
    layer.train()
    y.backward(g)
    assert all(torch.equal(a, b) for a, b in zip(state_of(layer), state_of(undisturbed)))


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), OnlineNorm(4), nn.ReLU(), nn.Conv2d(4, 4, 1), OnlineNorm(4)
    ).double()


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("segments", [1, 2])
def test_activation_checkpointing_gives_the_same_gradients_and_state(
    reentrant: bool, segments: int
) -> None:
    plain, saved = _net(), _net()
    for _ in range(3):
        x = torch.randn(4, 3, 5, 5, dtype=torch.float64, requires_grad=True)
        plain(x).square().sum().backward()
        y = x
        for part in [saved] if segments == 1 else [saved[:3], saved[3:]]:
            y = checkpoint(part, y, use_reentrant=reentrant)
        y.square().sum().backward()
    torch.testing.assert_close(plain.state_dict(), saved.state_dict())
    for a, b in zip(plain.parameters(), saved.parameters()):
        torch.testing.assert_close(a.grad, b.grad)


def test_a_checkpoint_of_another_forward_is_refused() -> None:
    layer = perturbed(4)
    x, _ = drawn((3, 4, 5, 5))
    x.requires_grad_()
    y = checkpoint(layer, x, use_reentrant=False)
    with torch.no_grad():
        layer(5 + x)
    with pytest.raises(Conflict, match="does not recompute the last training forward"):
        y.sum().backward()


def test_two_forwards_before_a_backward_are_refused_without_changing_the_control() -> None:
    layer = perturbed(4)
    x, _ = drawn((3, 4, 3, 3))
    loss = layer(x).sum() + layer(2 * x).sum()
    control = layer.u.clone(), layer.v.clone()
    with pytest.raises(Conflict, match=r"2 training forwards of OnlineNorm.* wait.*one batch"):
        loss.backward()
    assert torch.equal(layer.u, control[0])
    assert torch.equal(layer.v, control[1])


def test_the_older_of_two_forwards_is_refused_too() -> None:
    layer = perturbed(4)
    x, _ = drawn((3, 4, 3, 3))
    first = layer(x)
    second = layer(x)
    with pytest.raises(Conflict, match=r"under torch\.no_grad"):
        first.sum().backward()
    del second


def test_a_dropped_forward_does_not_block_the_next() -> None:
    layer = perturbed(4)
    x, _ = drawn((3, 4, 3, 3))
    y = layer(x)
    del y
    gc.collect()
    with torch.no_grad():
        layer(x)
    layer(x).sum().backward()


def test_a_second_backward_is_refused() -> None:
    layer = perturbed(4)
    x, _ = drawn((3, 4, 3, 3))
    y = layer(x).sum()
    y.backward(retain_graph=True)
    with pytest.raises(Conflict, match="a second backward through one forward"):
        y.backward()
