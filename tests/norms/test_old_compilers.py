"""Before PyTorch 2.4, what a compiled layer cannot do is refused by name."""

from __future__ import annotations

import copy
from typing import List

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from normlab import norms
from normlab.errors import InvalidSpec
from normlab.norms import make, registered

pytestmark = pytest.mark.skipif(registered.is_possible(), reason="operators can be registered")
MOVED_BACKWARD = {"online", "streaming"}


@pytest.mark.parametrize("kind", sorted(norms.LAYERS.keys() - MOVED_BACKWARD))
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_layer_computes_what_an_eager_one_does(kind: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 1), make(kind, 8, "relu")).double()
    compiled = torch.compile(copy.deepcopy(net), backend="aot_eager")
    x = torch.randn(4, 3, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(gradients(compiled, x), gradients(net, x))
    torch.testing.assert_close(compiled.eval()(x), net.eval()(x))


@pytest.mark.parametrize("kind", sorted(MOVED_BACKWARD))
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_layer_with_state_that_its_backward_moves_is_refused(kind: str) -> None:
    compiled = torch.compile(make(kind, 8), backend="aot_eager")
    with pytest.raises(InvalidSpec, match=r"2\.4 can: train it eagerly"):
        gradients(compiled, torch.randn(4, 8, 6, 6))


def gradients(net: nn.Module, x: Tensor) -> List[Tensor]:
    net(x).square().sum().backward()
    return [p.grad for p in net.parameters() if p.grad is not None]


@pytest.mark.parametrize("kind", ["batch", "batch_renorm", "switchable", "online"])
@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_around_a_compiled_layer_with_state_is_refused(kind: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), make(kind, 8))
    compiled = torch.compile(net, backend="aot_eager")
    x = torch.randn(4, 3, 6, 6, requires_grad=True)
    with pytest.raises(InvalidSpec, match=r"2\.4.*: train it"):
        checkpoint(compiled, x, use_reentrant=True).sum().backward()


@pytest.mark.filterwarnings("ignore")
def test_a_layer_without_state_may_be_recomputed() -> None:
    layer = torch.compile(make("layer", 8), backend="aot_eager")
    x = torch.randn(4, 8, 6, 6, requires_grad=True)
    checkpoint(layer, x, use_reentrant=True).square().sum().backward()
    assert x.grad is not None
