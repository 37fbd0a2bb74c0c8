"""RandAugment and TrivialAugment: draw changes from a list, each with a strength."""

from __future__ import annotations

from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from normlab.data.augmentations import colors

Amount = Callable[[Tensor, Tensor], Tensor]  # arguments: strength in [0, 1], and sign, -1 or 1


class Change(NamedTuple):
    """
    A change of images: of their colors, or an affine map of their pixels.

    Attributes:
        amount: computes the amounts for *color* or *matrix* from strengths and signs.
        color: takes images and amounts, and returns images.
        matrix: takes amounts (N,), and returns the six entries of 2 x 3 matrices that map new
            places to old ones.
    """

    amount: Amount
    color: Optional[Callable[[Tensor, Tensor], Tensor]] = None
    matrix: Optional[Callable[[Tensor], List[Tensor]]] = None


def _signed(most: float) -> Amount:
    return lambda strength, sign: most * strength * sign


def _around_one(most: float) -> Amount:
    return lambda strength, sign: 1 + most * strength * sign


def _nothing(strength: Tensor, sign: Tensor) -> Tensor:
    return strength


def _whole(strength: Tensor, sign: Tensor) -> Tensor:
    return 4 - (4 * strength).floor()


def _rounded(strength: Tensor, sign: Tensor) -> Tensor:
    return 8 - (6 * strength).round()


def _shear_x(a: Tensor) -> List[Tensor]:
    one, no = torch.ones_like(a), torch.zeros_like(a)
    return [one, a, no, no, one, no]


def _shear_y(a: Tensor) -> List[Tensor]:
    one, no = torch.ones_like(a), torch.zeros_like(a)
    return [one, no, no, a, one, no]


def _move_x(a: Tensor) -> List[Tensor]:
    one, no = torch.ones_like(a), torch.zeros_like(a)
    return [one, no, 2 * a, no, one, no]  # a side has length 2


def _move_y(a: Tensor) -> List[Tensor]:
    one, no = torch.ones_like(a), torch.zeros_like(a)
    return [one, no, no, no, one, 2 * a]


def _turn(degrees: Tensor) -> List[Tensor]:
    angle = torch.deg2rad(degrees)
    cos, sin, no = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return [cos, -sin, no, sin, cos, no]


def _places(shear: float, move: float, turn: float) -> Tuple[Change, ...]:
    return (
        Change(_signed(shear), matrix=_shear_x),
        Change(_signed(shear), matrix=_shear_y),
        Change(_signed(move), matrix=_move_x),
        Change(_signed(move), matrix=_move_y),
        Change(_signed(turn), matrix=_turn),
    )


def _factors(most: float) -> Tuple[Change, ...]:
    of = (colors.brightness, colors.saturation, colors.contrast, colors.sharpness)
    return tuple(Change(_around_one(most), color) for color in of)


_SOLARIZE = Change(lambda strength, sign: 1 - strength, colors.solarize)
RAND = (
    *_places(shear=0.3, move=0.45, turn=30),
    *_factors(0.9),
    _SOLARIZE,
    Change(_whole, colors.posterize),
    Change(lambda strength, sign: strength * 110 / 255, colors.solarize_add),
    Change(_nothing, colors.autocontrast),
    Change(_nothing, colors.equalize),
    Change(_nothing, colors.invert),
)
TRIVIAL = (
    Change(_nothing, lambda x, amount: x),
    *_places(shear=0.99, move=32 / 224, turn=135),
    *_factors(0.99),
    _SOLARIZE,
    Change(_rounded, colors.posterize),
    Change(_nothing, colors.autocontrast),
    Change(_nothing, colors.equalize),
)


class RandAugment:
    """
    Apply *num_ops* changes in turn, each with *probability*, all of nearly the same strength.

    The strength is normal around *magnitude* / 10, cut to [0, 1]; a larger strength changes more.
    Where the image moves away, pixels become black. Interpolation is bilinear.

    Source:
        Cubuk et al., "RandAugment", arXiv:1909.13719, in the form and with the ranges of timm's
        `rand-m<magnitude>-mstd<deviation>-inc1`. Timm fills with the mean instead, and draws a
        random interpolation.
    """

    on_host = True  # the drawn changes decide which operations run

    def __init__(
        self, num_ops: int, magnitude: float, deviation: float, probability: float
    ) -> None:
        self._num_ops = num_ops
        self._magnitude = magnitude
        self._deviation = deviation
        self._probability = probability

    def draw(self, n: int, generator: Generator) -> Tensor:
        """Return each image's changes (-1: none) with strength and sign, (n, num_ops, 3)."""
        shape = (n, self._num_ops)
        normal = torch.randn(shape, generator=generator)
        strength = ((self._magnitude + self._deviation * normal) / 10).clamp(0, 1)
        u = torch.rand(*shape, 3, generator=generator)
        which = (u[..., 0] * len(RAND)).floor()
        which = torch.where(u[..., 1] < self._probability, which, torch.full_like(which, -1))
        return torch.stack([which, strength, (u[..., 2] < 0.5) * 2.0 - 1], dim=2)

    def __call__(self, x: Tensor, drawn: Tensor) -> Tensor:
        """Change *x* (N, C, H, W) in [0, 1]."""
        for i in range(self._num_ops):
            x = apply(RAND, x, drawn[:, i])
        return x


class TrivialAugment:
    """
    Apply one change; its strength is one of 31 levels from zero to the largest.

    Source:
        Müller and Hutter, "TrivialAugment", arXiv:2103.10158, with the wide ranges of
        torchvision's `TrivialAugmentWide`. Its translation of up to 32 pixels is here the share
        32 / 224 of the side.
    """

    on_host = True

    def draw(self, n: int, generator: Generator) -> Tensor:
        """Return change, strength and sign, (n, 3)."""
        u = torch.rand(n, 3, generator=generator)
        which, strength = (u[:, 0] * len(TRIVIAL)).floor(), (u[:, 1] * 31).floor() / 30
        return torch.stack([which, strength, (u[:, 2] < 0.5) * 2.0 - 1], dim=1)

    def __call__(self, x: Tensor, drawn: Tensor) -> Tensor:
        """Change *x* (N, C, H, W) in [0, 1]."""
        return apply(TRIVIAL, x, drawn)


def apply(changes: Sequence[Change], x: Tensor, drawn: Tensor) -> Tensor:
    """
    Apply to each image its change of *changes*: all affine maps at once, colors one after another.

    Args:
        drawn: for each image its change (-1: none), strength and sign, (N, 3), on the host.
    """
    which = drawn[:, 0].long()
    out = x.clone()
    moved = [i for i, change in enumerate(changes) if change.matrix is not None]
    some = torch.isin(which, torch.tensor(moved)).nonzero()[:, 0]
    if len(some):
        matrices = _matrices(changes, drawn[some]).to(x.device, x.dtype)
        at = some.to(x.device)
        out[at] = _mapped(x[at], matrices)
    for i, change in enumerate(changes):
        one = (which == i).nonzero()[:, 0]
        if len(one) and change.color is not None:
            amount = change.amount(drawn[one, 1], drawn[one, 2]).to(x.device, x.dtype)
            at = one.to(x.device)
            out[at] = change.color(x[at], amount)
    return out


def _matrices(changes: Sequence[Change], drawn: Tensor) -> Tensor:
    """Return the affine maps, (N, 2, 3), of images whose changes all are affine maps."""
    found = torch.empty(len(drawn), 6)
    for i in sorted({int(which) for which in drawn[:, 0].tolist()}):
        these = drawn[:, 0] == i
        amount = changes[i].amount(drawn[these, 1], drawn[these, 2])
        matrix = changes[i].matrix
        if matrix is not None:
            found[these] = torch.stack(matrix(amount), dim=1)
    return found.view(-1, 2, 3)


def _mapped(x: Tensor, matrices: Tensor) -> Tensor:
    grid = F.affine_grid(matrices, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, "bilinear", "zeros", align_corners=False)
