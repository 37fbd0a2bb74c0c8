"""Records of a search: its trials in their order, the best one, and which parameters matter."""

from __future__ import annotations

from typing import Any, Dict, List, Union

from pydantic import BaseModel, Field


class TrialRecord(BaseModel):
    """One trial."""

    number: int = Field(description="counted from 0, in the order of proposals")
    job: str
    state: str = Field(description="of its job; pruned: stopped early")
    coordinates: Dict[str, Any] = Field(description="path to value")
    labels: Dict[str, str] = Field(description="coordinates as people read them")
    value: Union[float, None] = Field(description="the last value of the metric, if there is one")
    best: Union[float, None] = Field(description="best value of the succeeded trials up to here")


class SearchHistory(BaseModel):
    """What a search has tried."""

    study: str
    metric: str
    goal: str
    paths: List[str] = Field(description="of the space, in its order")
    logarithmic: List[str] = Field(description="paths that are drawn on a logarithmic scale")
    trials: List[TrialRecord]
    best: Union[int, None] = Field(description="number of the best succeeded trial")
    importance: Dict[str, float] = Field(
        description="path to its share of what separates good trials from the others; together 1; "
        "empty where `why` says why it is not known"
    )
    why: str = ""
