"""
Parts of procedural images of 32 x 32 pixels: outlines, stripes, noise, colour, disturbances.

Functions draw for n images at once from a generator, always in the same order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Tuple

import torch
from torch import Generator, Tensor

S = 32  # side of an image, in pixels


@dataclass(frozen=True)
class Nuisance:
    """The variation between images that is independent of the class."""

    contrast: Tuple[float, float]  # log-uniform in this range
    brightness: float  # standard deviations
    colour: float


@dataclass(frozen=True)
class Places:
    """Radius and centre of shapes in pixels, and their angle; each is (n,)."""

    radius: Tensor
    x: Tensor
    y: Tensor
    angle: Tensor


@dataclass(frozen=True)
class Extent:
    """The size of a shape and the position of its centre, in sides of the image."""

    radius: Tuple[float, float]
    centre: Tuple[float, float]


EASY = Nuisance(contrast=(0.6, 1.4), brightness=0.3, colour=0.15)
HARD = Nuisance(contrast=(0.2, 2.0), brightness=1.0, colour=0.3)


def distances(shape: Tensor, extent: Extent, g: Generator) -> Tensor:
    """
    Draw one slightly turned shape per image: 0 to 3 are disc, square, triangle and cross.

    Shape:
        (n,) -> (n, S, S), the signed distance to the outline in pixels, positive inside.
    """
    return distances_at(shape, places(len(shape), extent, g))


def places(n: int, extent: Extent, g: Generator) -> Places:
    """Draw the places of *n* shapes, slightly turned."""
    (small, large), (low, high) = extent.radius, extent.centre
    r = uniform(n, small * S, large * S, g)
    cx, cy = (uniform(n, low * S, high * S, g) for _ in "xy")
    return Places(r, cx, cy, uniform(n, -0.35, 0.35, g))


def distances_at(shape: Tensor, at: Places) -> Tensor:
    """Return the signed distances (n, S, S) to the outlines of shapes *shape* (n,) placed *at*."""
    r, angle = _column(at.radius), _column(at.angle)
    n = len(shape)
    rows, columns = _grid()
    dx, dy = columns - _column(at.x), rows - _column(at.y)
    u = angle.cos() * dx + angle.sin() * dy  # the pixel in the coordinates of the turned shape
    v = angle.cos() * dy - angle.sin() * dx
    distance = torch.empty(n, S, S)  # to the outline, positive inside
    for number, signed in enumerate((_disc, _square, _triangle, _cross)):
        chosen = shape == number
        distance[chosen] = signed(u[chosen], v[chosen], r[chosen])
    return distance


def _disc(u: Tensor, v: Tensor, r: Tensor) -> Tensor:
    return r - (u.square() + v.square()).sqrt()


def _square(u: Tensor, v: Tensor, r: Tensor) -> Tensor:
    return 0.88 * r - torch.maximum(u.abs(), v.abs())


def _triangle(u: Tensor, v: Tensor, r: Tensor) -> Tensor:
    k = math.sqrt(3) / 2
    return torch.minimum(0.62 * r - v, 0.62 * r + 0.5 * v - k * u.abs())


def _cross(u: Tensor, v: Tensor, r: Tensor) -> Tensor:
    bar = torch.minimum(0.36 * r - u.abs(), 1.1 * r - v.abs())
    return torch.maximum(bar, torch.minimum(0.36 * r - v.abs(), 1.1 * r - u.abs()))


def stripes(direction: Tensor, frequency: Tensor, g: Generator) -> Tensor:
    """Draw sines (n, S, S) in *direction* (n,), in radians, with *frequency* (n,) per pixel."""
    n = len(direction)
    phase = _column(uniform(n, 0, 2 * math.pi, g))
    rows, columns = _grid()
    along_x = _column(2 * math.pi * frequency * direction.cos())
    along_y = _column(2 * math.pi * frequency * direction.sin())
    return (along_x * columns + along_y * rows + phase).sin()


def value_noise(n: int, g: Generator) -> Tensor:
    """Draw smooth noise (n, S, S)."""
    # Normal numbers on a lattice of 6 pixels, with smoothstep between: x -> M x M', M (S, lattice).
    lattice = (S - 1) // 6 + 2
    position = torch.arange(S) / 6
    cell = position.floor().long()
    t = position - cell
    t = t * t * (3 - 2 * t)
    m = torch.zeros(S, lattice)
    m[torch.arange(S), cell] = 1 - t
    m[torch.arange(S), cell + 1] = t
    return m @ torch.randn(n, lattice, lattice, generator=g) @ m.T


def _grid() -> Tuple[Tensor, Tensor]:
    side = torch.arange(S, dtype=torch.float32)
    return side.view(1, S, 1), side.view(1, 1, S)


def _column(x: Tensor) -> Tensor:
    return x.view(-1, 1, 1)


def uniform(n: int, low: float, high: float, g: Generator) -> Tensor:
    """Draw *n* numbers between *low* and *high*."""
    return low + (high - low) * torch.rand(n, generator=g)


def disturbed(x: Tensor, g: Generator, nuisance: Nuisance) -> Tensor:
    """Change contrast, colour and brightness of each image of *x* (n, 3, S, S), and add noise."""
    n = len(x)
    low, high = (math.log(c) for c in nuisance.contrast)
    contrast = uniform(n, low, high, g).exp().view(n, 1, 1, 1)
    colour = 1 + nuisance.colour * torch.randn(n, 3, 1, 1, generator=g)
    brightness = nuisance.brightness * torch.randn(n, 1, 1, 1, generator=g)
    x = x + 0.15 * torch.randn(x.shape, generator=g)
    return x * (contrast * colour) + brightness


def coloured(pattern: Tensor, gain: float, g: Generator) -> Tensor:
    """Give *pattern* (n, S, S) three channels of random gains and offsets: (n, 3, S, S)."""
    n = len(pattern)
    gains = gain * (1 + 0.5 * torch.randn(n, 3, 1, 1, generator=g))
    offsets = 0.5 * torch.randn(n, 3, 1, 1, generator=g)
    return gains * pattern.unsqueeze(1) + offsets
