"""The comparisons of a study that decides: two values of an axis, all else being equal."""

from __future__ import annotations

import re
from typing import Dict, Iterator, List, Mapping, Match, NamedTuple, Sequence, Set, Tuple

from normlab.errors import FieldProblem, InvalidSpec
from normlab.specs.cells import Cell, label
from normlab.specs.decisions import Decide
from normlab.specs.studies import StudySpec

Labels = Dict[str, str]
_TRUTH = re.compile(r"(?<![^(= ])(true|false)(?![^,;) ])", re.IGNORECASE)


class Comparison(NamedTuple):
    """Two values of an axis, with the same values of all other axes."""

    axis: str
    value: str
    against: str
    where: Tuple[Tuple[str, str], ...]
    """Path and label of what both have in common."""
    cells: Dict[int, str]
    """Seed to the key of its cell with *value*."""
    others: Dict[int, str]
    """Each seed to the key of its cell with *against*."""

    @property
    def key(self) -> str:
        """Its name, which does not depend on the order of the axes."""
        rest = "".join(f"; {path}={name}" for path, name in sorted(self.where))
        # looks are stored under it, and earlier labels had True and False
        return _TRUTH.sub(_capital, f"{self.axis}: {self.value} / {self.against}{rest}")


def comparisons(study: StudySpec, cells: Sequence[Cell]) -> List[Comparison]:
    """
    List the comparisons of *study*, in the order of its axes.

    Args:
        study: one with `decide`.
        cells: its cells, of any number of seeds.

    Raises:
        InvalidSpec: a label that the axis does not have, or no two cells to compare.
    """
    decide = study.decide
    if decide is None:
        return []
    axis = decide.compare.axis if decide.compare else study.paths[0]
    linked = next(set(factor) for factor in study.factors if axis in factor)
    places = _places(study, cells, linked, axis)
    names = list(dict.fromkeys(name for of in places.values() for name in of))
    against, values = _chosen(decide, axis, _names(study, axis), names)
    found = [
        Comparison(axis, value, against, where, of[value], of[against])
        for where, of in places.items() if against in of
        for value in values if value in of
    ]  # fmt: skip
    if not found:
        rule = f"no two cells differ in {axis} alone with {against} as one of them"
        raise InvalidSpec(rule, [FieldProblem("decide.compare", rule)])
    return found


def _places(
    study: StudySpec, cells: Sequence[Cell], linked: Set[str], axis: str
) -> Mapping[Tuple[Tuple[str, str], ...], Dict[str, Dict[int, str]]]:
    found: Dict[Tuple[Tuple[str, str], ...], Dict[str, Dict[int, str]]] = {}
    for cell in cells:
        names = {path: label(cell.coordinates[path]) for path in study.paths}
        where = tuple((path, name) for path, name in names.items() if path not in linked)
        seeds = found.setdefault(where, {}).setdefault(names[axis], {})
        if cell.seed in seeds:
            rule = f"{axis} is {names[axis]} twice, beside other values: compare another path"
            raise InvalidSpec(rule, [FieldProblem("decide.compare.axis", rule)])
        seeds[cell.seed] = cell.key
    return found


def _names(study: StudySpec, axis: str) -> List[str]:
    values = next(of[axis] for of in study.axes if axis in of)
    return list(dict.fromkeys(label(value) for value in values))


def _chosen(
    decide: Decide, axis: str, known: Sequence[str], there: Sequence[str]
) -> Tuple[str, List[str]]:
    compare = decide.compare
    asked = {name: _as_now(name, known) for _, name in _asked(decide)}
    for field, name in _asked(decide):
        if asked[name] not in known:
            rule = f"{axis} has no value {name!r}: one of {', '.join(known)}"
            raise InvalidSpec(rule, [FieldProblem(f"decide.compare.{field}", rule)])
    against = asked[compare.against] if compare and compare.against is not None else known[0]
    values = [asked[v] for v in compare.values] if compare and compare.values else list(there)
    if compare and compare.values and against in values:
        rule = f"{against!r} would be compared with itself; leave it out"
        raise InvalidSpec(rule, [FieldProblem("decide.compare.values", rule)])
    return against, [name for name in values if name != against]


def _as_now(name: str, known: Sequence[str]) -> str:
    """Return *name* as labels have it now, if it is one of before, with True or False."""
    return name if name in known else _TRUTH.sub(lambda found: found[0].lower(), name)


def _capital(found: Match[str]) -> str:
    return found[0].capitalize()


def _asked(decide: Decide) -> Iterator[Tuple[str, str]]:
    if decide.compare is not None and decide.compare.against is not None:
        yield "against", decide.compare.against
    for name in (decide.compare.values or ()) if decide.compare else ():
        yield "values", name
