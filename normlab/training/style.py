"""
The loss of style transfer: the content of one picture, in the style of another.

Source:
    Johnson, Alahi and Fei-Fei, "Perceptual Losses for Real-Time Style Transfer and
    Super-Resolution", arXiv:1603.08155, equations 2 to 4, with means instead of sums, and without
    the total variation; Ulyanov et al., "Texture Networks", arXiv:1603.03417.
"""

from __future__ import annotations

from typing import Callable, List, Tuple

import torch
from torch import Tensor

from normlab.training.features import features, products
from normlab.training.tasks import Measure

STYLE_WEIGHT = 2.0
_CONTENT_LEVEL = 1  # the level of the features for content; style is compared at every level

Features = List[Tensor]


class StyleTask:
    """The picture in another style: `content_loss` and `style_loss` together."""

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """
        Return the sum of both losses, the mean over pictures.

        Shape:
            (N, C, H, W) and (N, 2 C, H, W), the content on top of the style -> ()
        """
        content, style = losses(output, y)
        return (content + style).mean()


def losses(output: Tensor, y: Tensor) -> Tuple[Tensor, Tensor]:
    """
    Return both losses of each picture.

    content = mean (f(output) - f(content))^2 at the middle level;
    style = weight * sum over levels of mean (G(output) - G(style))^2, G being `products`.

    Shape:
        (N, C, H, W) and (N, 2 C, H, W) -> (N,) and (N,), float32
    """
    found = features(output)
    with torch.no_grad():
        content, style = (features(part) for part in y.chunk(2, dim=1))
    return _content(found, content), STYLE_WEIGHT * _style(found, style)


def _content(found: Features, wanted: Features) -> Tensor:
    off = found[_CONTENT_LEVEL] - wanted[_CONTENT_LEVEL]
    return off.square().mean((1, 2, 3))


def _style(found: Features, wanted: Features) -> Tensor:
    pairs = zip(found, wanted)
    return torch.stack([(products(f) - products(w)).square().mean((1, 2)) for f, w in pairs]).sum(0)


def _tally(which: int) -> Callable[[Tensor, Tensor], Tensor]:
    def tally(output: Tensor, y: Tensor) -> Tensor:
        each = losses(output, y)[which].double()
        return torch.stack([each.sum(), torch.full_like(each.sum(), len(each))])

    return tally


def _mean(sums: Tensor) -> float:
    return float(sums[0] / sums[1])


CONTENT = Measure(_tally(0), _mean)
STYLE = Measure(_tally(1), _mean)
