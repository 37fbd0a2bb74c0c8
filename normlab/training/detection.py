"""
The loss of detection, and the objects in a prediction.

Letters: M rows of targets, K classes, G the cells of a side of the grid.

Source:
    Zhou, Wang and Kraehenbuehl, "Objects as Points", arXiv:1904.07850: equation 1, and the peaks of
    section 4 instead of suppression. Liu et al., "Training-Time-Friendly Network for Real-Time
    Object Detection", arXiv:1909.00700, section 3.1: bells as wide as the box along each axis. Tian
    et al., "FCOS", arXiv:1904.01355: distances to the four edges, here as in its later form at the
    cells around a centre. The distances are compared by their absolute differences.
"""

from __future__ import annotations

import math
from typing import Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from normlab.data.boxes import centres_and_sizes

FOUND = 32  # largest number of objects in a prediction
EDGE = 0.125  # unit of a predicted distance, in sides of the picture
PRIOR = math.log(9)  # is subtracted from logits, so 0 means a probability of .1, as in both papers
_BELL = 1 / 6  # standard deviation of a bell, in sides of its box
_NEAR = 1.5  # edges are learned within so many cells of a centre along an axis
_LEAST = 1e-6


class DetectionTask:
    """The class and the box of each object, as a map of centres and distances to the edges."""

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """
        Return the mean over pictures of the loss of centres and that of edges, each per object.

        -(1 - p)^2 log p where an object has its centre, -(1 - t)^4 p^2 log(1 - p) elsewhere, t
        being the bell around the nearest centre of the class; |d - d'| for each edge.

        Shape:
            (N, K + 4, G, G) and (N, M, 5) -> ()
        """
        output = output.float()
        kinds, edges = output[:, :-4] - PRIOR, output[:, -4:]
        there = (y[:, :, 0] >= 0).float()  # (N, M)
        objects = there.sum(1).clamp(min=1)
        found = _centre_loss(kinds, y, there) + _edge_loss(edges, y, there)
        return (found / objects).mean()


def _centre_loss(logits: Tensor, y: Tensor, there: Tensor) -> Tensor:
    """Return the sum of the loss of centres for each picture: (N,)."""
    bell, is_centre = _bells(y, there, logits.shape[-1])
    kinds = torch.arange(logits.shape[1], device=y.device, dtype=y.dtype)
    of_kind = (y[:, :, :1] == kinds).float()[:, :, :, None, None]  # (N, M, K, 1, 1)
    near = (bell.unsqueeze(2) * of_kind).amax(1)  # (N, K, G, G)
    centre = (is_centre.unsqueeze(2) * of_kind).amax(1)
    p = torch.sigmoid(logits)
    hit = centre * (1 - p).square() * F.logsigmoid(logits)
    miss = (1 - centre) * (1 - near) ** 4 * p.square() * F.logsigmoid(-logits)
    return -(hit + miss).sum((1, 2, 3))


def _bells(y: Tensor, there: Tensor, cells: int) -> Tuple[Tensor, Tensor]:
    """Return the bell of each object, and 1 at the cell of its centre: (N, M, G, G) each."""
    x_centre, y_centre, width, height = (cells * centres_and_sizes(y)).unbind(-1)
    across = _from_cell(x_centre, cells)  # (N, M, G), in whole cells
    down = _from_cell(y_centre, cells)
    exponent = _squares(across, width).unsqueeze(2) + _squares(down, height).unsqueeze(3)
    is_there = there[:, :, None, None]
    is_centre = (across == 0).float().unsqueeze(2) * (down == 0).float().unsqueeze(3)
    return torch.exp(-0.5 * exponent) * is_there, is_centre * is_there


def _from_cell(centre: Tensor, cells: int) -> Tensor:
    cell = centre.floor().clamp(max=cells - 1)
    return torch.arange(cells, device=centre.device, dtype=centre.dtype) - cell.unsqueeze(-1)


def _squares(distance: Tensor, size: Tensor) -> Tensor:
    return (distance / (_BELL * size).clamp(min=_LEAST).unsqueeze(-1)).square()


def _edge_loss(edges: Tensor, y: Tensor, there: Tensor) -> Tensor:
    """Return the sum over objects of the mean loss of their edges near the centre: (N,)."""
    cells = edges.shape[-1]
    at = _cell_centres(edges)  # (G,)
    x_centre, y_centre, _, _ = centres_and_sizes(y).unbind(-1)
    across = ((at - x_centre.unsqueeze(-1)).abs() * cells <= _NEAR).float()  # (N, M, G)
    down = ((at - y_centre.unsqueeze(-1)).abs() * cells <= _NEAR).float()
    near = across.unsqueeze(2) * down.unsqueeze(3)  # (N, M, G, G)
    off = torch.zeros_like(near)
    for i, true in enumerate(_distances(y, at)):
        off = off + (edges[:, i].unsqueeze(1) - true / EDGE).abs()
    each = (near * off).sum((2, 3)) / near.sum((2, 3)).clamp(min=1)
    return (each * there).sum(1)


def _distances(y: Tensor, at: Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the distances from cells to the four edges, which broadcast over (N, M, G, G)."""
    left, top, right, bottom = (edge[:, :, None, None] for edge in y[:, :, 1:].unbind(-1))
    columns, rows = at.view(1, 1, 1, -1), at.view(1, 1, -1, 1)
    return columns - left, rows - top, right - columns, bottom - rows


def _cell_centres(grid: Tensor) -> Tensor:
    cells = grid.shape[-1]
    return (torch.arange(cells, device=grid.device, dtype=grid.dtype) + 0.5) / cells


def detections(output: Tensor) -> Tensor:
    """
    Return the objects in *output*: the largest peaks, 3 x 3 cells wide, of each class.

    A row is the class, the probability, and the left, top, right and bottom edge.

    Shape:
        (N, K + 4, G, G) -> (N, `FOUND`, 6); fewer rows if the grid has fewer cells
    """
    output = output.float()
    p = torch.sigmoid(output[:, :-4] - PRIOR)
    peaks = torch.where(F.max_pool2d(p, 3, stride=1, padding=1) == p, p, torch.zeros_like(p))
    score, index = peaks.flatten(1).topk(min(FOUND, peaks[0].numel()))  # (N, rows)
    cell = index % output[0, 0].numel()
    kind = (index // output[0, 0].numel()).float()
    edges = _boxes(output[:, -4:]).flatten(2)  # (N, 4, cells)
    boxes = edges.gather(2, cell.unsqueeze(1).expand(-1, 4, -1))
    return torch.cat([kind.unsqueeze(2), score.unsqueeze(2), boxes.transpose(1, 2)], dim=2)


def _boxes(distances: Tensor) -> Tensor:
    """Return the edges of the box around each cell, inside the picture: (N, 4, G, G)."""
    at = _cell_centres(distances)
    columns, rows = at.view(1, 1, -1), at.view(1, -1, 1)
    left, top, right, bottom = (EDGE * distances).unbind(1)
    edges = [columns - left, rows - top, columns + right, rows + bottom]
    return torch.stack(edges, dim=1).clamp(0, 1)
