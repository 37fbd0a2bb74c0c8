"""Decode a picture: resize its shorter side, cut out the middle, and return RGB bytes."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

from normlab.errors import DatasetUnusable

if TYPE_CHECKING:
    import numpy as np


# Errors of decoders for bytes that are not a picture; Pillow translates only some of them.
_NO_PICTURE = (
    *(OSError, EOFError, ValueError, LookupError, ArithmeticError, SyntaxError),
    *(struct.error, zlib.error),
)


def decoded(content: bytes, size: int, name: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """
    Decode the picture *content*.

    Shape:
        bytes -> (3, size, size)

    Raises:
        DatasetUnusable: it is not a picture; the message has *name*.
    """
    import numpy as np
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as opened:
            image = opened.convert("RGB")
    except (*_NO_PICTURE, Image.DecompressionBombError) as e:
        said = str(e).replace(" <_io.BytesIO object", "").split(" at 0x")[0]
        raise DatasetUnusable(
            f"{name}: expected a picture, but {said}; replace or remove it, or leave such pictures "
            "out with dataset.skip_broken"
        ) from e
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.resize(
        (size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
    )
    return np.asarray(image).transpose(2, 0, 1)  # (H, W, 3) -> (3, H, W)
