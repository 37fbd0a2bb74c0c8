"""The options of normlab's own datasets."""

from __future__ import annotations

from pydantic import Field
from typing_extensions import Literal

from normlab.specs.base import Spec


class TextureOptions(Spec):
    """The options of `textures32`."""

    style: Literal["checks", "stripes", "waves", "blobs"] = Field(
        "checks", description="the texture in whose style the pictures are drawn"
    )
