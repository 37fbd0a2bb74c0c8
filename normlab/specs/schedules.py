"""The learning-rate schedules that jobs can name, with their options."""

from __future__ import annotations

from typing import ClassVar, Literal, Tuple, Type

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import Annotated

from normlab.specs.by_name import ByName, NamedSpec, registry_of
from normlab.specs.registries import SCHEDULES as SCHEDULE


class Schedule(NamedSpec):
    """
    The options of every schedule.

    Attributes:
        factory: the module:function from progress and its own options to the factor of the rate.
    """

    warmup_epochs: float = Field(
        0.0, ge=0, le=1000, description="number of first epochs over which the rate rises linearly"
    )
    warmup_from: float = Field(
        0.0, ge=0, lt=1, description="share of the rate at which the warm-up starts"
    )


class Constant(Schedule):
    """The same rate throughout."""

    factory: ClassVar[str] = "normlab.training.schedules:constant"
    name: Literal["constant"] = "constant"


class Step(Schedule):
    """Multiply the rate by *gamma* at each milestone."""

    factory: ClassVar[str] = "normlab.training.schedules:drops"
    name: Literal["step"] = "step"
    milestones: Tuple[float, ...] = Field(
        (0.5, 0.75),
        min_length=1,
        max_length=100,
        description="fractions of the training at which the rate drops, in rising order, "
        "between 0 and 1",
    )
    gamma: float = Field(0.1, gt=0, le=1, description="factor of the rate at each milestone")

    @model_validator(mode="after")
    def _milestones_rise(self) -> Step:
        if not _rises_inside(self.milestones):
            raise ValueError(f"milestones {self.milestones} must rise, each inside (0, 1)")
        return self


class Cosine(Schedule):
    """Fall from the full rate to *final* of it along half a cosine."""

    factory: ClassVar[str] = "normlab.training.schedules:half_cosine"
    name: Literal["cosine"] = "cosine"
    final: float = Field(0.0, ge=0, le=1, description="share of the rate that is left at the end")


class Polynomial(Schedule):
    """Fall from the full rate to *final* of it as a power of what is left of the training."""

    factory: ClassVar[str] = "normlab.training.schedules:polynomial"
    name: Literal["polynomial"] = "polynomial"
    power: float = Field(
        1.0, gt=0, le=100, description="power of what is left of the training; 1 is a straight line"
    )
    final: float = Field(0.0, ge=0, le=1, description="share of the rate that is left at the end")


class OneCycle(Schedule):
    """Rise from *first* of the rate to all of it, and fall to *final* of it (Smith, 2018)."""

    factory: ClassVar[str] = "normlab.training.schedules:one_cycle"
    name: Literal["one_cycle"] = "one_cycle"
    rise: float = Field(
        0.3, gt=0, lt=1, description="share of the training during which the rate rises"
    )
    first: float = Field(0.04, ge=0, le=1, description="share of the rate at the start")
    final: float = Field(4e-6, ge=0, le=1, description="share of the rate that is left at the end")
    shape: Literal["cosine", "linear"] = Field(
        "cosine", description="shape of the rise and the fall"
    )


class WarmRestarts(Schedule):
    """Fall along half a cosine several times, each time from *decay* of the previous height."""

    factory: ClassVar[str] = "normlab.training.schedules:warm_restarts"
    name: Literal["warm_restarts"] = "warm_restarts"
    cycles: int = Field(3, ge=1, le=1000, description="number of falls in the whole training")
    growth: float = Field(
        2.0, ge=1, le=100, description="factor from the length of a fall to that of the next"
    )
    decay: float = Field(
        1.0, gt=0, le=1, description="factor from the height of a fall to that of the next"
    )
    final: float = Field(0.0, ge=0, le=1, description="share of the rate at the end of each fall")


class Piecewise(Schedule):
    """Your own factors between fractions of the training: steps, or joined by lines."""

    factory: ClassVar[str] = "normlab.training.schedules:piecewise"
    name: Literal["piecewise"] = "piecewise"
    at: Tuple[float, ...] = Field(
        (0.5,),
        max_length=100,
        description="fractions of the training, in rising order, between 0 and 1",
    )
    factors: Tuple[Annotated[float, Field(ge=0, le=1000)], ...] = Field(
        (1.0, 0.1),
        min_length=1,
        max_length=101,
        description="factors of the rate, one for each part between fractions; with join, the "
        "first holds at the start and the others at the fractions, and the last one stays",
    )
    join: bool = Field(False, description="join the factors by straight lines")

    @model_validator(mode="after")
    def _one_factor_more(self) -> Piecewise:
        if not _rises_inside(self.at):
            raise ValueError(f"at {self.at} must rise, each inside (0, 1)")
        if len(self.factors) != len(self.at) + 1:
            raise ValueError(
                f"{len(self.at)} fractions in at have {len(self.at) + 1} factors, not "
                f"{len(self.factors)}"
            )
        return self


class ForgottenSchedule(Schedule):
    """A stored schedule of a plugin that this process does not have, for display only."""

    model_config = ConfigDict(extra="allow")
    name: str


def _rises_inside(fractions: Tuple[float, ...]) -> bool:
    inside = all(0 < one < 1 for one in fractions)
    return inside and sorted(set(fractions)) == list(fractions)


_OWN: Tuple[Type[Schedule], ...] = (
    Cosine,
    Step,
    Constant,
    Polynomial,
    OneCycle,
    WarmRestarts,
    Piecewise,
)
SCHEDULES = registry_of(SCHEDULE, _OWN)
ScheduleSpec = Annotated[Schedule, ByName(SCHEDULES, Schedule, ForgottenSchedule, default="cosine")]
