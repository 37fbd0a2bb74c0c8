"""The targets of detection: one row per object, and empty rows in pictures with fewer objects."""

from __future__ import annotations

import torch
from torch import Tensor

from normlab.errors import DatasetUnusable


def check(name: str, y: Tensor, num_classes: int) -> None:
    """
    Refuse rows that do not describe an object.

    Args:
        name: name of the dataset and its split, for messages.
        y: rows of the class and the left, top, right and bottom edge, in sides of the picture. The
            class -1 marks an empty row.

    Shape:
        (N, rows, 5)

    Raises:
        DatasetUnusable: a row is wrong; the message names the first such sample.
    """
    kind, low, high = y[:, :, 0], y[:, :, 1:3], y[:, :, 3:]
    is_empty = kind == -1
    is_class = (kind == kind.round()) & (kind >= 0) & (kind < num_classes)
    is_box = ((low >= 0) & (low < high) & (high <= 1)).all(2)
    wrong = ~(is_empty | (is_class & is_box))  # a NaN is wrong, too
    if bool(wrong.any()):
        i, row = (int(k) for k in wrong.nonzero()[0])
        found = [round(value, 4) for value in y[i, row].tolist()]
        raise DatasetUnusable(
            f"{name} sample {i} has the row {found}; expected a class of 0 to {num_classes - 1} "
            "and 0 <= left < right <= 1, 0 <= top < bottom <= 1 as shares of the picture's sides, "
            "in the order class, left, top, right, bottom, or the class -1 for no object"
        )
    if bool(is_empty.all()):
        raise DatasetUnusable(f"{name} has no object in any picture; a detector needs some")


def centres_and_sizes(y: Tensor) -> Tensor:
    """Return the centres x and y, and the widths and heights: (..., 5) -> (..., 4)."""
    low, high = y[..., 1:3], y[..., 3:]
    return torch.cat([(low + high) / 2, high - low], dim=-1)
