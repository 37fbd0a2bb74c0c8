"""The checkpoint of another job that a job goes on from."""

from __future__ import annotations

from typing import Literal, Union

from pydantic import BaseModel, ConfigDict, Field

from normlab.specs.base import Spec
from normlab.specs.json_values import Count


class Continuation(Spec):
    """Where a job goes on; `normlab continue` fills it in."""

    job: str = Field(
        pattern=r"^[0-9A-Fa-f]{8}-?([0-9A-Fa-f]{4}-?){3}[0-9A-Fa-f]{12}$",
        description="id of the earlier job",
    )
    step: Count = Field(description="updates that it had made")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of its checkpoint")
    schedule: Literal["same", "new"] = Field(
        "same",
        description="same: the rates so far were those of the longer job, which thus ends with the "
        "same numbers as if it had been asked for at once. new: the longer job's rates from here",
    )


class Longer(BaseModel):
    """The body of a request to continue a job."""

    model_config = ConfigDict(extra="forbid")

    epochs: Union[int, None] = Field(
        None, ge=1, le=100_000, description="in all, those of the earlier job counted"
    )
    max_steps: Union[Count, None] = Field(
        None, description="updates in all; null: as many as the epochs have"
    )
    anyway: bool = Field(
        False, description="accept that the result differs from that of one longer job"
    )
