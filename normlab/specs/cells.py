"""The cells of a study: one job per combination of its axes and seeds."""

from __future__ import annotations

import copy
import itertools
import json
from typing import (
    Any,
    Callable,
    Dict,
    Hashable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from pydantic import ValidationError

from normlab.errors import FieldProblem, InvalidSpec
from normlab.specs import registries
from normlab.specs.exclusions import Exclusions, Rule, put
from normlab.specs.jobs import JobSpec, fingerprints, plugins_named
from normlab.specs.problems import explain
from normlab.specs.studies import MAX_CELLS, StudySpec

Coordinates = Dict[str, Any]
"""Dotted path to value: the coordinates of a cell in its grid."""


class Cell(NamedTuple):
    """One job of a study, with its coordinates."""

    key: str
    coordinates: Coordinates
    seed: int
    spec: JobSpec


class Grid(NamedTuple):
    """The cells of a study, and the number of other combinations."""

    cells: List[Cell]
    excluded: int
    identical: int
    """Combinations that compute the same as an earlier cell, and so are not run again."""
    idle_rules: Sequence[Rule] = ()
    """The rules of `exclude` that match no combination."""


def expand(study: StudySpec) -> List[Cell]:
    """List the cells of *study*, as `lay_out` finds them."""
    return lay_out(study).cells


def lay_out(study: StudySpec, check: Callable[[], None] = lambda: None) -> Grid:
    """
    Find the cells of *study*, in the order of its axes, seeds innermost.

    Args:
        check: called before each combination; an exception from it ends the work.

    Raises:
        InvalidSpec: there are too many cells, none, or cells that are not valid jobs;
            its problems name the axis, not the cell.
    """
    if study.size > MAX_CELLS:
        raise InvalidSpec(
            f"the grid has {study.size} cells, at most {MAX_CELLS} are allowed: "
            "shorten an axis, or use a search",
            [FieldProblem("axes", f"at most {MAX_CELLS} cells, found {study.size}")],
        )
    cells: Dict[str, Cell] = {}
    excluded = 0
    exclusions = Exclusions(study.exclude)
    maker = _Maker(study)
    for coordinates in _grid(study):
        check()
        if exclusions.leave_out(coordinates):
            excluded += len(study.seeds)
            continue
        for cell in maker.cells(coordinates, study.seeds):
            cells.setdefault(cell.key, cell)
    if not cells:
        raise InvalidSpec(
            "every cell is excluded: loosen a rule of `exclude`",
            [FieldProblem("exclude", f"leaves none of {study.size} cells")],
        )
    identical = study.size - excluded - len(cells)
    return Grid(list(cells.values()), excluded, identical, exclusions.idle)


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
        raise _explained(e, raw, coordinates, "search.space" if study.search else "axes") from e
    return Cell(spec.fingerprint(), coordinates, seed, spec)


def make_cells(study: StudySpec, coordinates: Coordinates, seeds: Sequence[int]) -> List[Cell]:
    """Make the cells of *study* at *coordinates*, one for each of *seeds*."""
    return list(_Maker(study).cells(coordinates, seeds))


class _Maker:
    """
    Makes the cells of one study, and validates each value of a field once, not in every cell.

    This is possible because no field's validity depends on another field: rules for several
    of them is in `job_rules`. Only `code` follows from others, so it is found for each cell.
    """

    def __init__(self, study: StudySpec) -> None:
        self._study = study
        self._paths: Dict[str, List[str]] = {}
        self._first: Optional[Tuple[JobSpec, Dict[str, str]]] = None
        self._known: Dict[Hashable, _Field] = {}
        self._named = plugins_named(study.base.get("code"))

    def cells(self, coordinates: Coordinates, seeds: Sequence[int]) -> Iterator[Cell]:
        """Yield the cells at *coordinates*, which name the same paths in every call."""
        fields = self._fields(coordinates)
        known = {name: self._known.get(key) for name, key in fields.items()}
        if self._first is None or None in known.values():
            spec = make_cell(self._study, coordinates, seeds[0]).spec
            texts = spec.texts()
            self._learn(fields, coordinates, spec, texts)
        else:
            found = {name: field for name, field in known.items() if field is not None}
            first, texts = self._first
            spec = first.model_copy(update={name: field.value for name, field in found.items()})
            texts = _told({**texts, **{name: field.text for name, field in found.items()}})
            spec, texts = self._with_code(spec, texts)
        for seed, key in zip(seeds, fingerprints(texts, seeds)):
            of = spec if seed == spec.seed else spec.model_copy(update={"seed": seed})
            yield Cell(key, coordinates, seed, of)

    def _with_code(self, spec: JobSpec, texts: Dict[str, str]) -> Tuple[JobSpec, Dict[str, str]]:
        if not self._named and not registries.in_force():
            return spec, texts
        with registries.naming(self._named):
            code = spec.code_in_use()
        text = json.dumps(code, separators=(",", ":")) if code else ""
        return spec.model_copy(update={"code": code}), _told({**texts, "code": text})

    def _fields(self, coordinates: Coordinates) -> Dict[str, Hashable]:
        """Return for each field that *coordinates* change how to distinguish its values."""
        if not self._paths:
            for path in coordinates:
                self._paths.setdefault(path.partition(".")[0], []).append(path)
        return {
            name: (name, *(id(coordinates[path]) for path in paths))
            for name, paths in self._paths.items()
        }

    def _learn(
        self,
        fields: Dict[str, Hashable],
        coordinates: Coordinates,
        spec: JobSpec,
        texts: Dict[str, str],
    ) -> None:
        if self._first is None:
            self._first = (spec, texts)
        for name, key in fields.items():
            # kept from then on, so that cells with the same value share one object
            self._known.setdefault(
                key, _Field(coordinates, getattr(spec, name), texts.get(name, ""))
            )


def _told(texts: Dict[str, str]) -> Dict[str, str]:
    """Return *texts* in the order of a fingerprint, without the fields that it leaves out."""
    return {name: texts[name] for name in sorted(texts) if texts[name]}


class _Field(NamedTuple):
    """The validated value of a field, and its text; empty where a fingerprint leaves it out."""

    coordinates: Coordinates  # kept, so that no other value gets the identity of one of these
    value: Any
    text: str


def label(value: Any) -> str:
    """Format a coordinate for people: `group(groups=4)+proxy`, `32`, `sgd`."""
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)  # not the same label twice
    if isinstance(value, bool):
        return "true" if value else "false"  # as in a file
    if not isinstance(value, dict):
        return str(value)
    rest = {k: v for k, v in value.items() if k not in ("kind", "name", "proxy")}
    # databases may change the order of fields
    options = ", ".join(f"{k}={label(rest[k])}" for k in sorted(rest))
    head = str(value.get("kind") or value.get("name") or "")
    return head + (f"({options})" if options else "") + ("+proxy" if value.get("proxy") else "")


def read_where(texts: Sequence[str]) -> Dict[str, str]:
    """
    Parse `PATH=LABEL` texts, which select cells, to a mapping from path to label.

    Raises:
        InvalidSpec: a text without `=`, or a path twice.
    """
    found: Dict[str, str] = {}
    for given in texts:
        path, sign, wanted = given.partition("=")
        if not sign or not path or path in found:
            rule = f"{given!r}: write PATH=VALUE, such as batch_size=32, each path once"
            raise InvalidSpec.of([FieldProblem("where", rule)])
        found[path] = wanted
    return found


def _grid(study: StudySpec) -> Iterator[Coordinates]:
    axes = [[dict(zip(axis, point)) for point in zip(*axis.values())] for axis in study.axes]
    for points in itertools.product(*axes):
        yield {path: value for point in points for path, value in point.items()}


def _explained(
    error: ValidationError, raw: Dict[str, Any], coordinates: Coordinates, where: str
) -> InvalidSpec:
    found = explain(error.errors(), raw, JobSpec)
    problems = [FieldProblem(_place(p.field, coordinates, where), p.rule) for p in found]
    problems.sort(
        key=lambda p: not p.field.startswith(where)
    )  # the user most likely meant the paths that vary
    return InvalidSpec.of(problems)


def _place(field: str, coordinates: Coordinates, where: str) -> str:
    """Return where in the study the *field* of a cell was set."""
    axis = next((p for p in coordinates if field == p or field.startswith(p + ".")), None)
    if axis is None:
        return "base" if field == "body" else f"base.{field}"
    return f"{where}.{axis}"
