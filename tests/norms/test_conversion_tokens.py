"""Layer norms over the last dimension still work on tokens, whatever kind replaces them."""

from __future__ import annotations

import copy
from typing import Any, Callable

import pytest
import torch
from torch import Tensor, nn

from normlab.errors import InvalidSpec
from normlab.norms import make
from normlab.norms.conversion import convert
from normlab.norms.token_norm import TokenNorm
from normlab.specs.normalizers import BY_KIND

ON_TOKENS = [kind for kind, spec in BY_KIND.items() if spec.acts_on == "activations"]
OVER_TOKENS = [kind for kind in ON_TOKENS if not BY_KIND[kind].within_token]


class Tokens(nn.Module):
    def __init__(self, c: int = 16, **options: Any) -> None:
        super().__init__()
        self.mix, self.norm = nn.Linear(c, c), nn.LayerNorm(c, **options)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.mix(x))
        return y


@pytest.mark.parametrize("shape", [(2, 16, 16), (2, 10, 16), (3, 16), (2, 3, 5, 16)])
def test_a_layer_norm_of_tokens_computes_the_same_afterwards(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    old = Tokens(eps=1e-3)
    nn.init.normal_(old.norm.weight)
    nn.init.normal_(old.norm.bias)
    new = convert(copy.deepcopy(old), "layer")
    x = torch.randn(shape)
    torch.testing.assert_close(new(x), old(x))


def test_groups_of_channels_are_within_a_token() -> None:
    x = torch.randn(2, 5, 8)
    new = convert(nn.LayerNorm(8), {"kind": "group", "groups": 2})
    expected = nn.GroupNorm(2, 8)(x.reshape(10, 8)).reshape(2, 5, 8)
    torch.testing.assert_close(new(x), expected)


@pytest.mark.parametrize("kind", [k for k in ON_TOKENS if k not in OVER_TOKENS])
def test_a_token_does_not_feel_the_others_of_its_sample(kind: str) -> None:
    torch.manual_seed(0)
    x, norm = torch.randn(4, 6, 8), convert(nn.LayerNorm(8), kind)
    torch.testing.assert_close(norm(x)[:, 2:3], norm(x[:, 2:3]))
    torch.testing.assert_close(norm(x), make(kind, 8, dims=1)(x.flatten(0, 1)).view(x.shape))


def test_norm_and_activation_in_one_formula_stay_within_a_token_too() -> None:
    torch.manual_seed(0)
    block = nn.Sequential(nn.LayerNorm(8), nn.GELU())
    convert(block, {"kind": "evonorm_s0", "groups": 2})
    x = torch.randn(4, 6, 8)
    torch.testing.assert_close(block(x)[:, 2:3], block(x[:, 2:3]))
    tokens = x.view(24, 2, 4)
    deviation = (tokens.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()
    expected = (nn.functional.silu(tokens) / deviation).view(x.shape)
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("kind", OVER_TOKENS)
def test_every_other_kind_treats_tokens_as_positions(kind: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 6, 8)
    new, plain = convert(nn.LayerNorm(8), kind), make(kind, 8, dims=1)
    torch.testing.assert_close(new(x), plain(x.transpose(1, 2)).transpose(1, 2))
    grid = torch.randn(4, 2, 3, 8)
    y = new(grid)
    other = plain(grid.flatten(1, 2).transpose(1, 2)).transpose(1, 2).reshape(grid.shape)
    torch.testing.assert_close(y, other)


def test_a_layer_norm_without_bias_gets_no_bias() -> None:
    norm = nn.LayerNorm(8)
    norm.register_parameter("bias", None)  # like bias=False in later versions of torch
    for kind in ("layer", "group", "batch", "online"):
        new = convert(copy.deepcopy(norm), kind)
        assert [name for name, _ in new.named_parameters()] == ["norm.weight"]
        new(torch.randn(4, 5, 8)).sum().backward()


def test_several_dimensions_are_channels_and_positions() -> None:
    old = nn.LayerNorm([4, 3, 3])
    x = torch.randn(5, 4, 3, 3)
    torch.testing.assert_close(convert(old, "layer")(x), old(x))


@pytest.mark.parametrize("batch_first", [True, False])
def test_next_to_sequence_first_attention_the_second_dimension_is_that_of_samples(
    batch_first: bool,
) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=batch_first)
    convert(layer, "instance")
    x = torch.randn(3, 5, 8)  # three samples
    given = x if batch_first else x.transpose(0, 1)
    whole = layer(given)
    whole = whole if batch_first else whole.transpose(0, 1)
    for sample in range(3):
        alone = x[sample : sample + 1]
        y = layer(alone if batch_first else alone.transpose(0, 1))
        y = y if batch_first else y.transpose(0, 1)
        torch.testing.assert_close(whole[sample], y[0])


# torch 2.0.1 converts a mask to numbers, and its attention then warns about them
@pytest.mark.filterwarnings("ignore:Converting mask without torch.bool dtype:UserWarning")
@pytest.mark.parametrize("kind", ["layer", "group", "batch", "none"])
@pytest.mark.parametrize("padded", [False, True])
def test_a_transformer_uses_its_new_norms_in_evaluation_too(kind: str, padded: bool) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    net = nn.TransformerEncoder(layer, 2)
    old = copy.deepcopy(net).eval()
    convert(net, kind)
    x = torch.randn(3, 5, 8)
    mask = torch.tensor([[False] * 5, [False] * 4 + [True], [False] * 5]) if padded else None
    net.eval()
    with torch.no_grad():
        fast = net(x, src_key_padding_mask=mask)
    expected = old(x, src_key_padding_mask=mask)
    slow = net(x, src_key_padding_mask=mask)  # with gradients torch uses no fast path
    torch.testing.assert_close(fast, slow.detach())
    kept = ~mask if mask is not None else torch.ones(3, 5, dtype=torch.bool)
    assert torch.allclose(fast[kept], expected[kept], atol=1e-5) == (kind == "layer")


def test_an_input_with_other_channels_is_named() -> None:
    new = convert(nn.LayerNorm(8), "batch")
    with pytest.raises(InvalidSpec, match=r"\(2, 8, 5\); it takes \(N, \.\.\., C\) with C = 8"):
        new(torch.randn(2, 8, 5))
    with pytest.raises(InvalidSpec, match=r"\(8,\)"):
        new(torch.randn(8))


@pytest.mark.parametrize("make_norm", [lambda: nn.GroupNorm(2, 8), lambda: nn.SyncBatchNorm(8)])
@pytest.mark.parametrize("shape", [(4, 8, 5), (4, 8, 5, 3), (4, 8), (4, 8, 2, 3, 2)])
def test_layers_for_any_number_of_dimensions_still_accept_any(
    make_norm: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    net = nn.ModuleList([nn.Conv2d(3, 8, 1), make_norm()])
    convert(net, "batch")
    x = torch.randn(shape)
    torch.testing.assert_close(net[1](x), nn.functional.batch_norm(x, None, None, training=True))
    convert(two := nn.ModuleList([nn.Conv2d(3, 8, 1), nn.GroupNorm(2, 8)]), "group")
    torch.testing.assert_close(two[1](x), nn.GroupNorm(2, 8)(x))


def test_token_norm_shows_its_options() -> None:
    assert "8, alone=True, channels_last=True" in repr(TokenNorm(make("layer", 8, dims=1), 8, True))


@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_a_view_of_the_output_may_follow_as_after_a_layer_norm(kind: str) -> None:
    net = convert(Tokens(), kind)
    assert net(torch.randn(2, 5, 16)).view(2, -1).shape == (2, 80)
