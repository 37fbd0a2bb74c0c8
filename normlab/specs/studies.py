"""A study: one job's specification varied along axes and seeds, as a grid or as a search."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from typing import Any, Dict, List, Literal, Mapping, Sequence, Tuple, Union

from pydantic import Field, ValidationInfo, field_validator, model_validator
from typing_extensions import Annotated

from normlab.specs.base import Label, Spec, is_stored
from normlab.specs.datasets import DATASETS
from normlab.specs.decisions import Decide
from normlab.specs.json_values import DottedPath, Json, JsonValues
from normlab.specs.pack_sizes import MOST
from normlab.specs.tasks import TASKS

ACCURACY = "val/accuracy"
MAX_CELLS = 20_000
MAX_RULES = 2000
"""The largest number of rules in `exclude`; a rule may name many values of each path."""
MAX_RULE_PATHS = 64
"""The number of different paths in the rules: each is checked in every cell."""

Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]


class Parameter(Spec):
    """The values that a search may try for one path: an interval, or some choices."""

    low: Union[float, None] = Field(None, description="smallest value")
    high: Union[float, None] = Field(None, description="largest value")
    log: bool = Field(False, description="draw the logarithm of the value evenly")
    integer: bool = Field(False, description="whole numbers only")
    choices: Union[JsonValues, None] = Field(
        None,
        min_length=1,
        max_length=MAX_CELLS,
        description="values to choose from, in place of a range",
    )

    @model_validator(mode="after")
    def _interval_or_choices(self) -> Parameter:
        bounds = (self.low is not None) + (self.high is not None)
        if self.choices is not None and bounds == 0:
            return self
        if self.choices is not None or self.low is None or self.high is None:
            raise ValueError("give either choices, or both low and high")
        if self.low >= self.high or (self.log and self.low <= 0):
            raise ValueError(
                f"low {self.low:g} must be below high {self.high:g}, and above 0 with log"
            )
        return self

    def value(self, drawn: Any) -> Any:
        """Convert a drawn number, or the index of a choice, to a value of the field."""
        if self.choices is not None:
            return self.choices[drawn]
        return int(drawn) if self.integer else drawn


class Search(Spec):
    """Trials that a sampler proposes one after another."""

    sampler: Literal["random", "tpe"] = Field(
        "tpe", description="the sampler, which proposes trials"
    )
    pruner: Literal["none", "median", "asha"] = Field(
        "none", description="the pruner, which stops bad trials"
    )
    trials: int = Field(20, ge=1, le=MAX_CELLS, description="total number of jobs")
    parallel: int = Field(2, ge=1, le=1000, description="number of trials at the same time")
    metric: Label = Field(
        "val/accuracy", max_length=200, description="the metric by which trials are judged"
    )
    goal: Literal["maximize", "minimize"] = "maximize"
    space: Dict[DottedPath, Parameter] = Field(
        min_length=1, max_length=64, description="each dotted path with its range"
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="seed of the sampler")


class StudySpec(Spec):
    """A base job and its variations: every combination of the axes, for every seed."""

    name: Label = Field(min_length=1, max_length=200, description="the name that people see")
    base: Dict[Label, Json] = Field(
        default_factory=dict, description="the job that the cells share"
    )
    axes: Tuple[Dict[DottedPath, JsonValues], ...] = Field(
        (),
        max_length=16,
        description="the axes, each of which maps a dotted path to its values; several paths in "
        "one axis change together; a plain object is short for one axis for each path",
    )
    seeds: Tuple[Seed, ...] = Field(
        (0,),
        min_length=1,
        max_length=MAX_CELLS,
        description="a list of seeds, or their number; then they count from 0",
    )
    exclude: Tuple[Dict[DottedPath, Json], ...] = Field(
        (),
        max_length=MAX_RULES,
        description="rules for cells to leave out, each a map from paths to a value or to a "
        "list of values; a cell that matches a rule is left out",
    )
    search: Union[Search, None] = Field(
        None, description="a search, which proposes cells in place of a grid"
    )
    decide: Union[Decide, None] = Field(
        None, description="comparisons; seeds are added until each one is decided"
    )
    reuse: bool = Field(
        True, description="reuse results of this owner's earlier jobs; false: compute them again"
    )
    priority: int = Field(0, ge=-100, le=100, description="priority of the job of every cell")
    pack: Union[Literal["auto", "off"], Annotated[int, Field(ge=2, le=MOST)]] = Field(
        "auto",
        description="train cells that differ only in seeds and numbers together as one network: "
        "up to this number, or, with auto, as many as make training faster",
    )

    @field_validator("axes", mode="before")
    @classmethod
    def _one_axis_per_path(cls, axes: Any) -> Any:
        return [{path: values} for path, values in axes.items()] if isinstance(axes, dict) else axes

    @field_validator("seeds", mode="before")
    @classmethod
    def _count_of_seeds(cls, seeds: Any) -> Any:
        if not isinstance(seeds, int) or isinstance(seeds, bool):
            return seeds
        if not 1 <= seeds <= MAX_CELLS:  # checked before the list is built
            raise ValueError(f"a study has 1 to {MAX_CELLS} seeds; name fewer, or list them")
        return tuple(range(seeds))

    @model_validator(mode="after")
    def _axes_are_well_formed(self) -> StudySpec:
        for axis in self.axes:
            lengths = {path: len(values) for path, values in axis.items()}
            if not axis or 0 in lengths.values():
                raise ValueError(f"axis {lengths}: every axis needs a path and at least one value")
            if len(set(lengths.values())) > 1:
                raise ValueError(f"linked paths need equally many values, found {lengths}")
        if len(set(self.seeds)) < len(self.seeds):
            (seed, times), *_ = Counter(self.seeds).most_common(1)
            raise ValueError(f"seed {seed} is given {times} times: give each seed once")
        if len(set(self.paths)) < len(self.paths) or "seed" in self.paths:
            raise ValueError(f"paths {self.paths}: give each path once, and seeds in `seeds`")
        return self

    @model_validator(mode="after")
    def _exclusions_are_few(self) -> StudySpec:
        named = {path for rule in self.exclude for path in rule}
        if len(named) > MAX_RULE_PATHS:
            raise ValueError(
                f"exclude names {len(named)} different paths, at most {MAX_RULE_PATHS} are "
                "allowed: name only those that vary"
            )
        return self

    @model_validator(mode="after")
    def _a_search_is_no_grid(self) -> StudySpec:
        if self.search is not None and (self.axes or self.exclude or len(self.seeds) > 1):
            raise ValueError(
                "a search proposes its cells itself, with one seed: leave `axes` "
                "and `exclude` out, and put what varies into `search.space`, as ranges or choices"
            )
        return self

    @model_validator(mode="after")
    def _its_jobs_have_the_metric(self, info: ValidationInfo) -> StudySpec:
        shown = headline_of(self.base)
        for name, asked in (("decide", self.decide), ("search", self.search)):
            if asked and asked.metric == ACCURACY != shown and not is_stored(info):
                raise ValueError(
                    f"{name}.metric: the task of this dataset has no {ACCURACY}; use {shown}, or "
                    "another metric of it"
                )
        return self

    @field_validator("decide")
    @classmethod
    def _there_is_something_to_compare(
        cls, decide: Union[Decide, None], info: ValidationInfo
    ) -> Union[Decide, None]:
        if decide is None or not {"axes", "seeds", "search"} <= set(info.data):
            return decide  # their own errors say what is wrong
        if info.data["search"] is not None:
            raise ValueError("a search has no seeds to add; decide between values of an axis")
        seeds = len(info.data["seeds"])
        if seeds > decide.at_most:
            raise ValueError(f"at_most {decide.at_most} is fewer than the {seeds} seeds given")
        decide.refuse_wrong_axis(info.data["axes"])
        most = decide.at_most * _combinations(info.data["axes"])
        if most > MAX_CELLS:
            raise ValueError(
                f"at_most {decide.at_most} seeds make {most} cells, at most {MAX_CELLS} are "
                "allowed: lower at_most, or shorten an axis"
            )
        return decide

    @property
    def factors(self) -> List[List[str]]:
        """The paths that vary together: one list per axis; all paths of a search form one list."""
        searched = [list(self.search.space)] if self.search else []
        return [list(axis) for axis in self.axes] + searched

    @property
    def paths(self) -> List[str]:
        """All paths that vary, axis by axis."""
        return [path for factor in self.factors for path in factor]

    def fingerprint(self) -> str:
        """Hash the content of the study, in 64 hex digits: the same file is the same study."""
        asked = self.model_dump(mode="json", exclude={"priority", "pack"})
        if asked["decide"] is None:  # the same hash as before this field existed
            del asked["decide"]
        asked["reuse"] = False  # which job computes a cell is not part of the question
        text = json.dumps(asked, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def size(self) -> int:
        """Cells before any exclusion."""
        return len(self.seeds) * _combinations(self.axes)


def _combinations(axes: Sequence[Mapping[str, Sequence[Any]]]) -> int:
    return math.prod(len(next(iter(axis.values()))) for axis in axes)


def headline_of(base: Mapping[str, Any]) -> str:
    """
    Return the headline metric of the task of a study's jobs.

    Args:
        base: the study's base job; without a dataset, the headline is the accuracy.
    """
    dataset = base.get("dataset")
    name = dataset.get("name") if isinstance(dataset, Mapping) else dataset
    facts = DATASETS.get(name) if isinstance(name, str) else None
    task = None if facts is None else TASKS.get(facts.task)
    return ACCURACY if task is None else task.headline
