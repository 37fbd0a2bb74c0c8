"""The cost of a filter for each job that it examines, and the limit for lists."""

from __future__ import annotations

from collections.abc import Container, Iterator

from normlab.errors import FieldProblem, FilterTooCostly
from service.jobs.filters import All, Either, FieldComparison, Filter, Not

MOST_COST = 60
MOST_DEPTH = 16

# In units of one column comparison, which takes 0.1 microseconds per job
_COLUMN = 1
_IN_SPEC = 4
_OF_STUDY = 4  # a job without its own name has the name of its study, which is looked up
_METRIC = 12
_PATTERN = 4  # in addition


def refuse_costly(of: Filter, columns: Container[str]) -> None:
    """
    Raise FilterTooCostly for a filter that costs more than MOST_COST, or nests too deeply.

    Args:
        columns: names that are columns of the table; other names are fields of the spec.
    """
    cost = 0
    for comparison, depth in comparisons(of):
        cost += _cost(comparison, columns)
        if depth > MOST_DEPTH:
            rule = f"nested more than {MOST_DEPTH} levels deep; write it with fewer `not`"
            raise FilterTooCostly(f"filter: {rule}", [FieldProblem("filter", rule)])
    if cost > MOST_COST:
        rule = (
            f"costs {cost}, at most {MOST_COST} are allowed (a column {_COLUMN}, a name, tag or "
            f"study {_OF_STUDY}, a field of the spec {_IN_SPEC}, a metric {_METRIC}, a pattern "
            f"{_PATTERN} more); ask for less at once, or use `in` for several values of one field"
        )
        raise FilterTooCostly(f"filter: {rule}", [FieldProblem("filter", rule)])


def comparisons(of: Filter) -> Iterator[tuple[FieldComparison, int]]:
    """Yield the comparisons in *of*, with the depth at which each stands."""
    waiting: list[tuple[Filter, int]] = [(of, 0)]
    while waiting:
        found, depth = waiting.pop()
        if isinstance(found, Not):
            waiting.append((found.of, depth + 1))
        elif isinstance(found, All | Either):
            waiting += [(part, depth + 1) for part in found.parts]
        else:
            yield found, depth


def _cost(comparison: FieldComparison, columns: Container[str]) -> int:
    if "/" in comparison.field:
        return _METRIC
    field = _COLUMN if comparison.field in columns else _IN_SPEC
    if comparison.field in ("name", "study", "tag", "archived"):
        field = _OF_STUDY
    return field + (_PATTERN if comparison.op == "~" else 0)
