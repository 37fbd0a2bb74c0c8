"""The deviations that replace the standard deviation, and the passes that divide by them.

Data have the shape (G, V, C, D): G groups of V samples that share statistics, C channels and D
positions. A statistic is over n = V * D values and has the shape (G, 1, C, 1). The batch norms of
`deviation_norm` use this module.
"""

from __future__ import annotations

from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from normlab.norms import passes
from normlab.norms.once import gradients_again
from normlab.norms.typed_bases import Function

_OVER = (1, 3)  # the dimensions over which a statistic is computed
_SLICE = 1 << 18  # values that stay in a core's cache from one operator to the next


class Deviation(NamedTuple):
    """A deviation, and the places of the values that it was computed from; None is all."""

    value: Tensor  # (G, 1, C, 1)
    places: Optional[Tensor] = None  # (G, C, k), flat places in the data


MeasureDeviation = Callable[[Tensor, Tensor], Deviation]  # arguments: data and their mean
Divisor = Callable[[Tensor], Tensor]  # from a deviation to the normalizing factor k


def mean_deviation(x: Tensor, mean: Tensor) -> Deviation:
    """Measure the mean absolute deviation."""
    total = torch.zeros_like(mean)
    for part in slices(x):
        total += (x[:, part] - mean).abs_().sum(_OVER, keepdim=True)
    return Deviation(total.div_(x.shape[1] * x.shape[3]))


def top_deviation(x: Tensor, mean: Tensor, k: int) -> Deviation:
    """
    Measure the mean of the *k* largest absolute deviations.

    They are in the k blocks of values with the largest maxima, so only few values are sorted.
    """
    g, v, c, d = x.shape
    block = _block_length(v, d, k)
    step = d // block  # a block's values are *step* apart
    maxima = torch.cat([_block_maxima(x[:, part] - mean, block) for part in slices(x)], 1)
    rows = maxima.permute(0, 2, 1, 3).reshape(g, c, v * step)
    i = rows.topk(k, dim=2).indices.unsqueeze(3)  # (G, C, k, 1)
    sample = torch.div(i, step, rounding_mode="floor")
    position = i % step + torch.arange(block, device=x.device) * step
    places = _flat(sample, position, x).flatten(2)  # (G, C, k * block)
    sizes = (x.reshape(-1)[places] - mean.permute(0, 2, 1, 3).squeeze(3)).abs_()
    values, chosen = sizes.topk(k, dim=2)
    return Deviation(values.mean(2).view(g, 1, c, 1), places.gather(2, chosen))


def top_deviation_plain(centred: Tensor, k: int) -> Tensor:
    """Measure the same for centred data, in operators that autograd can differentiate."""
    g, v, c, d = centred.shape
    rows = centred.abs().permute(0, 2, 1, 3).reshape(g, c, v * d)
    return rows.topk(k, dim=2).values.mean(2).view(g, 1, c, 1)


def normalize_plain(
    x: Tensor,
    measure: Callable[[Tensor], Tensor],
    divisor: Divisor,
    weight: Optional[Tensor],
    bias: Optional[Tensor],
) -> Tuple[Tensor, Tensor, Tensor]:
    """Return y = weight * (x - mean) * divisor(deviation) + bias, the mean and the deviation."""
    mean = x.mean(_OVER, keepdim=True)
    centred = x - mean
    deviation = measure(centred)
    y = centred * _scale(divisor(deviation), weight)
    if bias is not None:
        y = y + bias.to(x.dtype).view(1, 1, -1, 1)
    return y, mean.detach(), deviation.detach()


def normalize(
    x: Tensor,
    measure: MeasureDeviation,
    divisor: Divisor,
    weight: Optional[Tensor],
    bias: Optional[Tensor],
    measure_plain: Callable[[Tensor], Tensor],
) -> Tuple[Tensor, Tensor, Tensor]:
    """
    Compute the same as `normalize_plain` in fewer passes, keeping only x for backward.

    *measure_plain* is used if the gradient is to be differentiated again.
    """
    kept: Any = []
    y: Tensor = _Normalize.apply(x, (measure, measure_plain), divisor, kept, weight, bias)
    return (y, *kept)


class _Normalize(Function):
    """With k = divisor(A), s = sign(x - M) at the values that A is computed from and 0 at others:

    gx = k * (h - mean(h)) + dA / m * (s - sum(s) / n), h = weight * g, dA = k' * sum(h * (x - M)),
    where m is the number of values that A is computed from.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        measures: Tuple[MeasureDeviation, Callable[[Tensor], Tensor]],
        divisor: Divisor,
        kept: Any,
        weight: Optional[Tensor],
        bias: Optional[Tensor],
    ) -> Tensor:
        mean = x.mean(_OVER, keepdim=True)
        measured = measures[0](x, mean)
        scale = _scale(divisor(measured.value), weight)
        kept.extend([mean, measured.value])
        ctx.measure_plain, ctx.divisor, ctx.places = measures[1], divisor, measured.places
        ctx.save_for_backward(x, mean, measured.value, weight, bias)
        shift = -mean * scale
        if bias is not None:
            shift = shift + bias.to(x.dtype).view(1, 1, -1, 1)
        y = torch.empty_like(x)
        for part in slices(x):
            torch.mul(x[:, part], scale, out=y[:, part]).add_(shift)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, mean, deviation, weight, bias = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated again
            return _plain_gradients(ctx, g, x, weight, bias)
        g = g.contiguous()
        s0, s1 = _group_dots(g, x, mean)
        with torch.enable_grad():
            leaf = deviation.detach().requires_grad_()
            factor = ctx.divisor(leaf)
        h1 = _scale(s1, weight)
        (d_deviation,) = torch.autograd.grad(factor, leaf, h1)
        factor = factor.detach()
        scale = _scale(factor, weight)
        if ctx.places is None:
            gx = _input_grad_of_all(x, g, mean, scale, s0, d_deviation)
        else:
            gx = _input_grad_of_few(ctx.places, x, g, mean, scale, s0, d_deviation)
        d_weight, d_bias = (s1 * factor).sum((0, 1, 3)), s0.sum((0, 1, 3))
        need = ctx.needs_input_grad
        return gx, None, None, None, d_weight if need[4] else None, d_bias if need[5] else None


def _plain_gradients(
    ctx: Any, g: Tensor, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]
) -> Any:
    def normalized(x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> List[Tensor]:
        return [normalize_plain(x, ctx.measure_plain, ctx.divisor, weight, bias)[0]]

    need = ctx.needs_input_grad
    of_x, *of_affine = gradients_again(normalized, (x, weight, bias), [g], (need[0], *need[4:]))
    return (of_x, None, None, None, *of_affine)


def _group_dots(g: Tensor, x: Tensor, mean: Tensor) -> Tuple[Tensor, Tensor]:
    """Return sum(g) and sum(g * (x - mean)) of every group and channel."""
    groups, v, c, d = x.shape
    rows = (groups * v, c, d)
    centre = mean[..., 0].expand(groups, v, c).reshape(groups * v, c)
    sums = passes.two_dots(g.view(rows), x.reshape(rows), centre)
    s0, s1 = (s.view(groups, v, c, 1).sum(1, keepdim=True) for s in sums)
    return s0, s1


def _input_grad_of_all(
    x: Tensor, g: Tensor, mean: Tensor, scale: Tensor, s0: Tensor, d_deviation: Tensor
) -> Tensor:
    n = x.shape[1] * x.shape[3]
    gx, signs = torch.empty_like(x), torch.zeros_like(mean)
    for part in slices(x):
        signs += torch.sub(x[:, part], mean, out=gx[:, part]).sign_().sum(_OVER, keepdim=True)
    slope = d_deviation / n
    rest = -(scale * s0 + slope * signs) / n
    for part in slices(x):
        gx[:, part].mul_(slope).add_(rest).addcmul_(g[:, part], scale)
    return gx


def _input_grad_of_few(
    places: Tensor,
    x: Tensor,
    g: Tensor,
    mean: Tensor,
    scale: Tensor,
    s0: Tensor,
    d_deviation: Tensor,
) -> Tensor:
    n, k = x.shape[1] * x.shape[3], places.shape[2]
    centre = mean.permute(0, 2, 1, 3).squeeze(3)  # (G, C, 1)
    signs = (x.reshape(-1)[places] - centre).sign_() * (d_deviation.view(centre.shape) / k)
    rest = -(scale * s0 + signs.sum(2).view(mean.shape)) / n
    gx = torch.empty_like(x)
    for part in slices(x):
        torch.mul(g[:, part], scale, out=gx[:, part]).add_(rest)
    gx.view(-1).index_add_(0, places.reshape(-1), signs.reshape(-1))
    return gx


def _scale(factor: Tensor, weight: Optional[Tensor]) -> Tensor:
    return factor if weight is None else factor * weight.to(factor.dtype).view(1, 1, -1, 1)


def slices(x: Tensor, dim: int = 1) -> Iterator[slice]:
    """Cut the samples along *dim*, so that a part stays in the cache for several operators."""
    v = x.shape[dim]
    length = max(1, _SLICE * v // max(1, x.numel())) if x.device.type == "cpu" else v
    for start in range(0, v, length):
        yield slice(start, start + length)


def _block_maxima(centred: Tensor, block: int) -> Tensor:
    """Return the largest |value| of each block: (G, V, C, D) -> (G, V, C, D / block)."""
    g, v, c, d = centred.shape
    size = centred.abs_()
    return size if block == 1 else size.view(g, v, c, block, d // block).amax(3)


def _block_length(v: int, d: int, k: int) -> int:
    """Return how many values of a row make a block; 1 if sorting all values is as fast."""
    for block in range(min(32, d), 3, -1):
        if d % block == 0 and v * (d // block) >= 2 * k:
            return block
    return 1


def _flat(sample: Tensor, position: Tensor, like: Tensor) -> Tensor:
    """Return indices into flat (G, V, C, D) data; *sample* and *position* are (G, C, k, ...)."""
    g, v, c, d = like.shape
    group = torch.arange(g, device=like.device).view(g, 1, 1, 1)
    channel = torch.arange(c, device=like.device).view(1, c, 1, 1)
    return ((group * v + sample) * c + channel) * d + position
