"""How a job reads its data: from memory or as a stream. It does not change what is computed."""

from __future__ import annotations

from typing import Literal, Union

from pydantic import Field

from normlab.specs.base import Spec

IN_MEMORY_BYTES = 1 << 30
"""A dataset of up to so many bytes, as decoded, is kept in memory if `mode` is auto."""


class LoadingSpec(Spec):
    """Whether the data are kept in memory or decoded as they are read, and by whom."""

    mode: Literal["auto", "memory", "stream"] = Field(
        "auto",
        description="memory: decode everything at the start; stream: decode each update's samples "
        "in worker processes; auto: stream what takes more than 1 GiB decoded",
    )
    workers: Union[int, None] = Field(
        None,
        ge=0,
        le=64,
        description="stream only: processes that decode, for each replica; 0: the training "
        "process; null: one for each core, at most 4",
    )
    prefetch: int = Field(
        2, ge=1, le=64, description="stream only: updates that each of them reads ahead"
    )
