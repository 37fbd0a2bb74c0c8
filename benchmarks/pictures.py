"""Generated pictures in files, for benchmarks that read them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import List, Mapping

import numpy as np
from PIL import Image

_KINDS = 64  # of different pictures; more would only take longer to draw


def pictures(side: int, form: str) -> List[bytes]:
    """Return 64 encoded pictures, *side* + 20 pixels wide and *side* high."""
    random = np.random.RandomState(0)
    found = []
    for _ in range(_KINDS):
        small = Image.fromarray(random.randint(0, 256, (8, 8, 3), np.uint8))
        buffer = io.BytesIO()
        small.resize((side + 20, side), Image.Resampling.BICUBIC).save(buffer, form)
        found.append(buffer.getvalue())
    return found


def write_tree(folder: Path, side: int, counts: Mapping[str, int]) -> None:
    """Write a folder of JPEG pictures in two classes, with the given number in each split."""
    content = pictures(side, "JPEG")
    for split, count in counts.items():
        for i in range(count):
            path = folder / split / f"class{i % 2}" / f"{i:06d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content[i % len(content)])
