"""Records of a study's rows against a reference: differences, intervals and tests."""

from __future__ import annotations

from typing import Dict, List, Union

from pydantic import BaseModel, Field


class DifferenceRow(BaseModel):
    """A row minus the reference row that is equal in everything else, paired by seed."""

    labels: Dict[str, str] = Field(description="of the row, for all paths of the study")
    n: int = Field(description="seeds that both have")
    mean: float
    low: Union[float, None]
    high: Union[float, None]
    p: Union[float, None] = Field(
        description="of the paired t test, two-sided; null for fewer than two seeds, or no spread"
    )
    p_adjusted: Union[float, None] = Field(description="after Holm, for all rows together")


class DifferenceTable(BaseModel):
    """All rows of a study that have a partner with the reference value of an axis."""

    study: str
    metric: str
    axis: str
    linked: List[str] = Field(
        default_factory=list, description="paths that vary together with the axis"
    )
    against: str
    where: Dict[str, str] = Field(default_factory=dict)
    rows: List[DifferenceRow]
