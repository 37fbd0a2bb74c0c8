"""A study: one job's specification varied along axes and seeds, as a grid or as a search."""

from __future__ import annotations

import copy
import difflib
import hashlib
import itertools
import json
from typing import Any, Dict, Iterator, List, Literal, NamedTuple, Sequence, Tuple, Union

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from typing_extensions import Annotated, get_args

from normlab.errors import FieldProblem, InvalidSpec
from normlab.specs.base import Label, Spec
from normlab.specs.jobs import JobSpec

MAX_CELLS = 20_000

Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
Coordinates = Dict[str, Any]
"""Dotted path to value: where a cell lies in its grid."""


class Parameter(Spec):
    """What a search may try for one path: an interval, or some choices."""

    low: Union[float, None] = Field(None, description="smallest value")
    high: Union[float, None] = Field(None, description="largest value")
    log: bool = Field(False, description="draw the logarithm evenly")
    integer: bool = Field(False, description="whole numbers only")
    choices: Union[Tuple[Any, ...], None] = Field(None, min_length=1, description="or one of these")

    @model_validator(mode="after")
    def _interval_or_choices(self) -> Parameter:
        bounds = (self.low is not None) + (self.high is not None)
        if self.choices is not None and bounds == 0:
            return self
        if self.choices is not None or self.low is None or self.high is None:
            raise ValueError("give either choices, or both low and high")
        if self.low >= self.high or (self.log and self.low <= 0):
            raise ValueError(f"low {self.low:g} must lie below high {self.high:g}, above 0 for log")
        return self

    def value(self, drawn: Any) -> Any:
        """Turn what was drawn, a number or the place of a choice, into a value of the field."""
        if self.choices is not None:
            return self.choices[drawn]
        return int(drawn) if self.integer else drawn


class Search(Spec):
    """Trials that a sampler proposes one after another."""

    sampler: Literal["random", "tpe"] = Field("tpe", description="who proposes")
    pruner: Literal["none", "median", "asha"] = Field("none", description="who stops bad trials")
    trials: int = Field(20, ge=1, le=MAX_CELLS, description="jobs in all")
    parallel: int = Field(2, ge=1, le=1000, description="trials under way at once")
    metric: str = Field("val/accuracy", max_length=200, description="what a trial is judged by")
    goal: Literal["maximize", "minimize"] = "maximize"
    space: Dict[str, Parameter] = Field(min_length=1, description="dotted path to its range")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="of the sampler")


class StudySpec(Spec):
    """A base job and what varies: every combination of the axes, for every seed."""

    name: Label = Field(min_length=1, max_length=200, description="a label for people")
    base: Dict[str, Any] = Field(default_factory=dict, description="the job that the cells share")
    axes: Tuple[Dict[str, Tuple[Any, ...]], ...] = Field(
        (),
        max_length=16,
        description="each axis maps a dotted path to its values; several paths in one axis move "
        "together; a plain object is short for one axis a path",
    )
    seeds: Tuple[Seed, ...] = Field((0,), min_length=1, description="a list, or how many from 0 up")
    exclude: Tuple[Dict[str, Any], ...] = Field(
        (), description="leave out the cells that match: path to value, or to a list of values"
    )
    search: Union[Search, None] = Field(None, description="propose cells instead of a grid")
    reuse: bool = Field(False, description="take finished cells of other studies of this owner")
    priority: int = Field(0, ge=-100, le=100, description="of every cell's job")

    @field_validator("axes", mode="before")
    @classmethod
    def _one_axis_a_path(cls, axes: Any) -> Any:
        return [{path: values} for path, values in axes.items()] if isinstance(axes, dict) else axes

    @field_validator("seeds", mode="before")
    @classmethod
    def _count_of_seeds(cls, seeds: Any) -> Any:
        is_count = isinstance(seeds, int) and not isinstance(seeds, bool)
        return tuple(range(seeds)) if is_count else seeds

    @model_validator(mode="after")
    def _axes_are_well_formed(self) -> StudySpec:
        for axis in self.axes:
            lengths = {path: len(values) for path, values in axis.items()}
            if not axis or 0 in lengths.values():
                raise ValueError(f"axis {lengths}: every axis needs a path and at least one value")
            if len(set(lengths.values())) > 1:
                raise ValueError(f"linked paths need equally many values, found {lengths}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds {list(self.seeds)}: each seed once")
        if len(set(self.paths)) < len(self.paths) or "seed" in self.paths:
            raise ValueError(f"paths {self.paths}: each path once, and seeds stand in `seeds`")
        return self

    @model_validator(mode="after")
    def _a_search_is_no_grid(self) -> StudySpec:
        if self.search is not None and (self.axes or self.exclude or len(self.seeds) > 1):
            raise ValueError(
                "a search proposes its cells itself, with one seed: give no `axes` and no "
                "`exclude`, and put what shall vary into `search.space`, as choices if need be"
            )
        return self

    @property
    def paths(self) -> List[str]:
        """All paths that vary, axis by axis."""
        searched = list(self.search.space) if self.search else []
        return [path for axis in self.axes for path in axis] + searched

    def fingerprint(self) -> str:
        """Hash what the study asks, in 64 hex digits: the same file is the same study."""
        text = json.dumps(self.model_dump(mode="json", exclude={"priority"}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def size(self) -> int:
        """Cells before any exclusion."""
        cells = len(self.seeds)
        for axis in self.axes:
            cells *= len(next(iter(axis.values())))
        return cells


class Cell(NamedTuple):
    """One job of a study, and where it lies."""

    key: str
    coordinates: Coordinates
    seed: int
    spec: JobSpec


class Grid(NamedTuple):
    """The cells of a study, and how many combinations are none of them."""

    cells: List[Cell]
    excluded: int
    identical: int
    """Combinations that compute what an earlier cell computes: they are run once."""


def expand(study: StudySpec) -> List[Cell]:
    """List the cells of *study*, as `lay_out` finds them."""
    return lay_out(study).cells


def lay_out(study: StudySpec) -> Grid:
    """
    Find the cells of *study*, in the order of its axes, seeds innermost.

    Raises:
        InvalidSpec: too many cells, none left, or cells that are no valid jobs;
            its problems name the axis, not the cell.
    """
    if study.size > MAX_CELLS:
        raise InvalidSpec(
            f"the grid has {study.size} cells, at most {MAX_CELLS} are allowed: "
            "shorten an axis, or search",
            [FieldProblem("axes", f"at most {MAX_CELLS} cells, found {study.size}")],
        )
    cells: Dict[str, Cell] = {}
    excluded = 0
    for coordinates in _grid(study):
        if any(_matches(rule, coordinates) for rule in study.exclude):
            excluded += len(study.seeds)
            continue
        for cell in _with_seeds(make_cell(study, coordinates, study.seeds[0]), study.seeds):
            cells.setdefault(cell.key, cell)
    if not cells:
        raise InvalidSpec(
            "every cell is excluded: loosen a rule of `exclude`",
            [FieldProblem("exclude", f"leaves none of {study.size} cells")],
        )
    return Grid(list(cells.values()), excluded, study.size - excluded - len(cells))


def corners(study: StudySpec) -> List[Cell]:
    """
    List the two outermost cells of a search, to find a wrong path before anything runs.

    Raises:
        InvalidSpec: a corner is no valid job; its problems name the path.
    """
    space = study.search.space if study.search else {}
    ends = [
        {path: p.value(p.low if p.choices is None else 0) for path, p in space.items()},
        {path: p.value(p.high if p.choices is None else -1) for path, p in space.items()},
    ]
    return [make_cell(study, end, study.seeds[0]) for end in ends]


def make_cell(study: StudySpec, coordinates: Coordinates, seed: int) -> Cell:
    """Put *coordinates* into the study's base job."""
    raw = copy.deepcopy(study.base)
    raw["priority"] = study.priority
    for path, value in coordinates.items():
        put(raw, path, copy.deepcopy(value))
    raw["seed"] = seed
    try:
        spec = JobSpec.model_validate(raw)
    except ValidationError as e:
        raise _explained(e, coordinates) from e
    return Cell(spec.fingerprint(), coordinates, seed, spec)


def _with_seeds(first: Cell, seeds: Sequence[int]) -> Iterator[Cell]:
    yield first
    for seed in seeds[1:]:  # only the seed differs, so the rest is not validated again
        spec = first.spec.model_copy(update={"seed": seed})
        yield first._replace(key=spec.fingerprint(), seed=seed, spec=spec)


def label(value: Any) -> str:
    """Name a coordinate for people: `group(groups=4)+proxy`, `32`, `sgd`."""
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)  # two values, two labels
    if not isinstance(value, dict):
        return str(value)
    rest = {k: v for k, v in value.items() if k not in ("kind", "name", "proxy")}
    # databases return fields in an order of their own
    options = ", ".join(f"{k}={label(rest[k])}" for k in sorted(rest))
    head = str(value.get("kind") or value.get("name") or "")
    return head + (f"({options})" if options else "") + ("+proxy" if value.get("proxy") else "")


def _grid(study: StudySpec) -> Iterator[Coordinates]:
    axes = [[dict(zip(axis, point)) for point in zip(*axis.values())] for axis in study.axes]
    for points in itertools.product(*axes):
        yield {path: value for point in points for path, value in point.items()}


def _matches(rule: Dict[str, Any], coordinates: Coordinates) -> bool:
    raw: Dict[str, Any] = {}
    for path, value in coordinates.items():
        put(raw, path, copy.deepcopy(value))
    return all(_found(raw, path, wanted) for path, wanted in rule.items())


def _found(raw: Dict[str, Any], path: str, wanted: Any) -> bool:
    value: Any = raw
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    allowed = wanted if isinstance(wanted, list) else [wanted]
    short = value.get("kind", value.get("name")) if isinstance(value, dict) else value
    return value in allowed or short in allowed


def put(raw: Dict[str, Any], path: str, value: Any) -> None:
    """Set the field at the dotted *path* of *raw*, making what is missing on the way."""
    *parents, last = path.split(".")
    for part in parents:
        child = raw.get(part)
        if isinstance(child, str):  # "group" is short for {"kind": "group"}
            child = {"kind" if part == "normalizer" else "name": child}
        raw[part] = child = child if isinstance(child, dict) else {}
        raw = child
    raw[last] = value


def _explained(error: ValidationError, coordinates: Coordinates) -> InvalidSpec:
    problems = [_problem(e["loc"], e["type"], e["msg"], coordinates) for e in error.errors()]
    problems.sort(key=lambda p: not p.field.startswith("axes."))  # what varies is what was meant
    return InvalidSpec("; ".join(f"{p.field}: {p.rule}" for p in problems), problems)


def _problem(
    loc: Tuple[Union[int, str], ...], kind: str, message: str, coordinates: Coordinates
) -> FieldProblem:
    loc = _without_tag(loc)
    path = ".".join(str(part) for part in loc)
    axis = next((p for p in coordinates if path == p or path.startswith(p + ".")), None)
    if kind == "extra_forbidden":
        message = f"a job has no such field{_nearest(loc)}"
    return FieldProblem(f"axes.{axis}" if axis else f"base.{path}", message)


def _without_tag(loc: Tuple[Union[int, str], ...]) -> Tuple[Union[int, str], ...]:
    """Drop the kind that pydantic puts behind the name of a field with several kinds."""
    tagged = len(loc) > 1 and loc[0] in ("normalizer", "optimizer", "schedule")
    return (loc[0], *loc[2:]) if tagged else loc


def _nearest(loc: Tuple[Union[int, str], ...]) -> str:
    known = sorted(set(field_names(JobSpec)))
    path = ".".join(str(part) for part in loc)
    close = difflib.get_close_matches(path, known, n=3, cutoff=0.5)
    said = ", ".join(close or JobSpec.model_fields)
    return f"; nearest: {said}" if close else f"; fields: {said}"


def field_names(model: type, prefix: str = "") -> Iterator[str]:
    """List the dotted names of a spec's fields; those of a field with several kinds repeat."""
    for name, field in model.model_fields.items():  # type: ignore[attr-defined]
        yield prefix + name
        for inner in _models(field.annotation):
            yield from field_names(inner, f"{prefix}{name}.")


def _models(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
