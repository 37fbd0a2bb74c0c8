"""A compiled torch.func.vmap over models is equal to each model alone, or refused by name."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from normlab.errors import InvalidSpec
from normlab.laws import two_models
from normlab.laws.modes import differences, torchs_own_warnings
from tests.norms import matrix

pytestmark = pytest.mark.skipif(
    not hasattr(torch, "compiler"), reason="PyTorch 2.0 cannot compile a vmap"
)
compiled = partial(two_models.vmapped, made=partial(torch.compile, backend="aot_eager"))
KINDS = ("batch, proxy", "batch_renorm", "switchable")


@pytest.mark.parametrize("kind", KINDS)
def test_a_compiled_vmap_equals_each_model_alone_in_float64(kind: str) -> None:
    with torchs_own_warnings():
        found = compiled(matrix.net_of(kind))
    assert differences(found, two_models.each(matrix.net_of(kind).double()), 2e-5) == {}


@pytest.mark.parametrize("kind", matrix.CONTROLLED)
def test_kinds_that_move_state_in_backward_refuse_it_with_an_alternative(kind: str) -> None:
    with torchs_own_warnings(), pytest.raises(InvalidSpec, match="train it eagerly"):
        compiled(matrix.net_of(kind))
