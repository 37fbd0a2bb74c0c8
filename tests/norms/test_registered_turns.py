"""Compiled Online Normalization: each forward pass needs its backward pass before the next one."""

from __future__ import annotations

from typing import Callable

import pytest
import torch
from torch import Tensor

from normlab.errors import Conflict
from normlab.norms import make
from tests.norms.test_matrix import torchs_own_warnings

pytestmark = pytest.mark.skipif(
    not hasattr(torch.library, "register_autograd"),
    reason="operators can be registered since torch 2.4",
)


@pytest.fixture
def compiled() -> Callable[[Tensor], Tensor]:
    torch._dynamo.reset()
    call: Callable[[Tensor], Tensor] = torch.compile(make("online", 4), backend="aot_eager")
    return call


def _batch() -> Tensor:
    return torch.randn(3, 4, 2, 2, requires_grad=True)


def test_two_compiled_forwards_before_their_backwards_conflict(
    compiled: Callable[[Tensor], Tensor],
) -> None:
    with torchs_own_warnings():
        first, second = compiled(_batch()), compiled(_batch())
        with pytest.raises(Conflict, match="2 compiled training forwards"):
            second.sum().backward()
    del first


def test_a_compiled_forward_whose_graph_is_gone_waits_for_nothing(
    compiled: Callable[[Tensor], Tensor],
) -> None:
    with torchs_own_warnings():
        compiled(_batch())
        with torch.no_grad():
            kept = compiled(_batch())
        for _ in range(2):
            compiled(_batch()).square().sum().backward()
    assert kept.shape == (3, 4, 2, 2)
