import copy
import io

import pytest
import torch

from normlab.norms import make
from normlab.norms.streaming import StreamingNorm


def step(
    layer: StreamingNorm, x: torch.Tensor, g: torch.Tensor
) -> "tuple[torch.Tensor, torch.Tensor]":
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(g)
    assert x.grad is not None
    return y.detach(), x.grad


def change_weights(layer: StreamingNorm) -> None:
    with torch.no_grad():
        assert layer.weight is not None
        layer.weight.mul_(1.0)


def test_the_first_batch_is_batch_norm() -> None:
    x, g = torch.randn(4, 6, 3, 3), torch.randn(4, 6, 3, 3)
    y, gx = step(StreamingNorm(6), x, g)
    expected, expected_gx = step(make("batch", 6), x, g)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(gx, expected_gx)


def test_short_term_alone_is_batch_norm_at_every_update() -> None:
    layer, batch = StreamingNorm(6, forward_short=1.0, backward_short=1.0), make("batch", 6)
    for _ in range(3):
        x, g = torch.randn(4, 6, 3, 3), torch.randn(4, 6, 3, 3)
        for found, expected in zip(step(layer, x, g), step(batch, x, g)):
            torch.testing.assert_close(found, expected)
        change_weights(layer)


def test_batches_between_updates_are_averaged() -> None:
    layer = StreamingNorm(2, forward_short=1.0)
    a, b = torch.randn(4, 2, 3, 3), torch.randn(4, 2, 3, 3)
    layer(a)
    y = layer(b)
    m = (a.mean((0, 2, 3)) + b.mean((0, 2, 3))) / 2
    v = (a.var((0, 2, 3), unbiased=False) + b.var((0, 2, 3), unbiased=False)) / 2
    expected = (b - m.view(-1, 1, 1)) * (v + 1e-5).rsqrt().view(-1, 1, 1)
    torch.testing.assert_close(y, expected)


def test_an_update_moves_the_long_term_and_starts_a_short_one() -> None:
    layer = StreamingNorm(2, momentum=0.25, forward_short=0.5)
    a, b, c = (torch.randn(4, 2, 3, 3) for _ in range(3))
    for x in (a, b):
        layer(x)
        change_weights(layer)
    y = layer(c)
    mean_a, mean_b, mean_c = (x.mean((0, 2, 3)) for x in (a, b, c))
    long = 0.75 * mean_a + 0.25 * mean_b  # before the first update there is no long term
    torch.testing.assert_close(layer.running_mean, long)
    used = 0.5 * long + 0.5 * mean_c
    scale = y[0, :, 0, 0] / (c[0, :, 0, 0] - used)
    torch.testing.assert_close(y, (c - used.view(-1, 1, 1)) * scale.view(-1, 1, 1))


def test_gradients_of_the_statistics_are_streamed() -> None:
    torch.manual_seed(0)
    layer = StreamingNorm(2, momentum=0.25, forward_short=1.0, backward_short=0.4).double()
    batches = [torch.randn(4, 2, 3, 3).double() for _ in range(2)]
    gs = [torch.randn(4, 2, 3, 3).double() for _ in range(2)]
    streamed = []
    for x, g in zip(batches, gs):
        _, gx = step(layer, x, g)
        streamed.append(layer.gradient_short.clone())
        change_weights(layer)
    x, g = batches[1], gs[1]
    m = x.mean((0, 2, 3), keepdim=True)
    scale = (x.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5).rsqrt()
    used = 0.4 * streamed[1] + 0.6 * streamed[0]
    through = used[0].view(-1, 1, 1) + 2 * used[1].view(-1, 1, 1) * (x - m)
    torch.testing.assert_close(gx, scale * g + through / 36)


def test_evaluation_uses_the_long_term() -> None:
    layer = StreamingNorm(2).eval()
    layer.running_mean.fill_(1.0)
    layer.running_var.fill_(4.0)
    x = torch.randn(1, 2, 3, 3)
    torch.testing.assert_close(layer(x), (x - 1) / (4 + 1e-5) ** 0.5)


@pytest.mark.parametrize("affine", [True, False])
def test_a_resumed_layer_continues_bit_for_bit(affine: bool) -> None:
    layer, resumed = StreamingNorm(2, affine=affine), StreamingNorm(2, affine=affine)
    batches = [(torch.randn(4, 2, 3, 3), torch.randn(4, 2, 3, 3)) for _ in range(4)]
    optimizers = [
        torch.optim.SGD([*m.parameters(), torch.zeros(1, requires_grad=True)], 0.1)
        for m in (layer, resumed)
    ]
    for x, g in batches[:2]:
        optimizers[0].zero_grad()
        step(layer, x, g)
        optimizers[0].step()
    resumed.load_state_dict(layer.state_dict())
    for x, g in batches[2:]:
        found = []
        for optimizer, each in zip(optimizers, (layer, resumed)):
            optimizer.zero_grad()
            found.append(step(each, x, g))
            optimizer.step()
        assert torch.equal(found[0][0], found[1][0])
        assert torch.equal(found[0][1], found[1][1])


def test_virtual_batches_are_batches_between_two_updates() -> None:
    torch.manual_seed(0)
    whole, parts = StreamingNorm(3, virtual_batch_size=2).double(), StreamingNorm(3).double()
    for _ in range(3):
        x, g = torch.randn(2, 5, 3, 4, 4, dtype=torch.float64)
        x.requires_grad_()
        y = whole(x)
        outputs = [parts(part) for part in x.split(2)]
        torch.testing.assert_close(y, torch.cat(outputs))
        for found, expected in zip(
            torch.autograd.grad(y, [x, whole.weight], g),
            torch.autograd.grad(torch.cat(outputs), [x, parts.weight], g),
        ):
            torch.testing.assert_close(found, expected)
        change_weights(whole)
        change_weights(parts)
    for a, b in zip(whole.buffers(), parts.buffers()):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("changed", [True, False])
def test_a_copy_knows_whether_the_weights_have_changed(changed: bool) -> None:
    layer = StreamingNorm(2)
    for _ in range(3):
        change_weights(layer)
    layer(torch.randn(4, 2, 3, 3))
    if changed:
        change_weights(layer)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    for other in (layer, copy.deepcopy(layer), torch.load(file, weights_only=False)):
        assert other._weights_changed() == changed
        assert not other._weights_changed()
