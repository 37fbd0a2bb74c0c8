from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch

from normlab.errors import InvalidSpec
from normlab.norms.online import OnlineNorm
from tests.norms.online_loop import (
    STATE,
    drawn,
    perturbed,
    state_of,
)


def test_copies_and_saved_states_continue_alike() -> None:
    torch.manual_seed(0)
    layer = perturbed(4)
    x, g = drawn((3, 4, 3, 3))
    layer(x).backward(g)
    loaded = OnlineNorm(4).double()
    loaded.load_state_dict(layer.state_dict())
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    pickled = torch.load(file, weights_only=False)
    copied = copy.deepcopy(layer)
    y = layer(x)
    y.backward(g)
    for other in (loaded, pickled, copied):
        z = other(x)
        z.backward(g)
        assert torch.equal(z, y)
        assert all(torch.equal(a, b) for a, b in zip(state_of(layer), state_of(other)))


def test_state_dict_holds_the_state_and_nothing_else() -> None:
    assert set(OnlineNorm(4).state_dict()) == {"weight", "bias", *STATE}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_input_keeps_float32_state(dtype: torch.dtype) -> None:
    layer = OnlineNorm(4)
    x = (100 * torch.randn(3, 4, 5, 5)).to(dtype).requires_grad_()
    y = layer(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype
    assert all(s.dtype == torch.float32 for s in state_of(layer))
    layer.to(dtype)(x.detach())
    assert layer.mu.dtype == torch.float32


def test_autocast_computes_in_float32() -> None:
    layer, x = OnlineNorm(4), torch.randn(3, 4, 5, 5)
    expected = copy.deepcopy(layer)(x)
    with torch.autocast(x.device.type, torch.bfloat16):
        y = layer(x)
    torch.testing.assert_close(y, expected)


def test_channels_last_stays_channels_last() -> None:
    layer = perturbed(4)
    x, g = drawn((3, 4, 5, 5))
    last = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    y = layer(last)
    y.backward(g)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert last.grad.is_contiguous(memory_format=torch.channels_last)


def test_an_empty_batch_changes_no_state() -> None:
    layer = perturbed(4)
    before = state_of(layer)
    assert layer(torch.empty(0, 4, 3, 3, dtype=torch.float64)).shape == (0, 4, 3, 3)
    assert all(torch.equal(a, b) for a, b in zip(state_of(layer), before))


BAD: list[tuple[dict[str, Any], str]] = [
    ({"alpha_forward": 1.0}, r"alpha_forward: .*not 1\.0"),
    ({"alpha_backward": -0.1}, r"alpha_backward: .*not -0\.1"),
    ({"error_compensation": "ls"}, "error_compensation: .*not 'ls'"),
    ({"clamp_value": 0.0}, r"clamp_value: .*not 0\.0"),
    (
        {"layer_scaling_group_size": 3},
        "layer_scaling_group_size: groups of 3 channels do not divide 4",
    ),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        OnlineNorm(4, **options)


def test_plain_operators_cannot_train_it() -> None:
    layer = OnlineNorm(4)
    layer.plain = True
    with pytest.raises(InvalidSpec, match="control process, not the derivative"):
        layer(torch.randn(2, 4, 3, 3))
