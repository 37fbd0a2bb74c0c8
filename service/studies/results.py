"""The results of a study: a value per cell, averaged over seeds and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from normlab.errors import FieldProblem, InvalidSpec
from normlab.presentation.digits import of_none, shown
from normlab.presentation.intervals import estimate
from normlab.records import ResultRow, ResultTable
from normlab.specs.cells import label
from service.store.database import Database
from service.studies import cell_values, details
from service.studies.cell_places import place_all
from service.studies.cell_values import CellValue, Question

_MOST_NAMED = 5


def results(
    database: Database,
    study: str,
    question: Question,
    group_by: Sequence[str] | None = None,
    where: Mapping[str, str] | None = None,
) -> ResultTable:
    """
    Tabulate a study: one row per combination of *group_by*, by default of all its paths.

    With `seed` in *group_by*, one row per job. Only jobs that succeeded have a value; the
    others are counted by state in `without`. For timings, emulated jobs have no value either.

    Args:
        group_by: paths that form the rows; omitted paths may not vary within a row.
        where: path to label: take only the cells that have this value there.

    Raises:
        NotFound: no such study.
        InvalidSpec: a path or a label that the study does not have, a metric that no job
            reported, or rows that would pool cells which differ in more than their seed.
    """
    declared = details.paths(database, study)
    read = cell_values.read(database, study, question)
    paths, cells = place_all(database, declared, read)
    chosen = _known_paths(paths, group_by, "group_by") if group_by is not None else paths
    taken = _taken(cells, paths, where or {})
    groups = _grouped(taken, chosen)
    _refuse_pooling(groups, [path for path in paths if path not in chosen], chosen)
    return ResultTable(
        study=study,
        metric=question.metric,
        reduction=question.reduction,
        interval=question.interval,
        confidence=question.confidence,
        group_by=chosen,
        where=dict(where or {}),
        rows=_with_digits([_row(group, chosen, question) for group in groups], question.metric),
    )


def _known_paths(paths: Sequence[str], asked: Sequence[str], field: str) -> list[str]:
    for path in asked:
        if path not in (*paths, "seed"):
            known = ", ".join((*paths, "seed"))
            rule = f"the study does not vary {path!r}: use one of {known}"
            raise InvalidSpec(rule, [FieldProblem(field, rule)])
    return list(dict.fromkeys(asked))


def _taken(
    cells: Sequence[CellValue], paths: Sequence[str], where: Mapping[str, str]
) -> Sequence[CellValue]:
    _known_paths(paths, list(where), "where")
    for path, wanted in where.items():
        names = list(dict.fromkeys(_label(cell, path) for cell in cells))
        if wanted not in names:
            rule = f"{path} has no value {wanted!r}: use one of {', '.join(names)}"
            raise InvalidSpec(rule, [FieldProblem("where", rule)])
        cells = [cell for cell in cells if _label(cell, path) == wanted]
    return cells


def _label(cell: CellValue, path: str) -> str:
    return str(cell.seed) if path == "seed" else label(cell.coordinates.get(path))


def _grouped(cells: Sequence[CellValue], paths: Sequence[str]) -> list[list[CellValue]]:
    # compared by label: two spellings of one value, `batch` and `{kind: batch}`, are one row
    groups: dict[tuple[str, ...], list[CellValue]] = {}
    for cell in cells:
        groups.setdefault(tuple(_label(cell, path) for path in paths), []).append(cell)
    return list(groups.values())


def _refuse_pooling(
    groups: Sequence[Sequence[CellValue]], hidden: Sequence[str], chosen: Sequence[str]
) -> None:
    """Raise InvalidSpec if a row's cells differ in one of the paths that it does not show."""
    names = {p: _most_names([_names(group, p) for group in groups]) for p in hidden}
    pooled = {path: found for path, found in names.items() if len(found) > 1}
    if not pooled:
        return
    said = ", ".join(f"{path} ({_listed(found)})" for path, found in pooled.items())
    first, found = next(iter(pooled.items()))
    rule = (
        f"a mean is over seeds alone, and these rows would pool {said}: add "
        f"{' and '.join(pooled)} to group_by, or choose a value with where, "
        f"such as {first}={found[0]}"
    )
    of = f"group_by {', '.join(chosen)}" if chosen else "an empty group_by"
    raise InvalidSpec(f"{of}: {rule}", [FieldProblem("group_by", rule)])


def _names(group: Sequence[CellValue], path: str) -> list[str]:
    return list(dict.fromkeys(_label(cell, path) for cell in group))


def _most_names(names: Sequence[list[str]]) -> list[str]:
    return max(names, key=len, default=[])


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _row(group: Sequence[CellValue], paths: Sequence[str], question: Question) -> ResultRow:
    numbers = {cell.seed: cell.value for cell in group if cell.value is not None}
    values = list(numbers.values())
    found = estimate(values, question.interval, question.confidence) if values else None
    first = {**group[0].coordinates, "seed": group[0].seed}
    return ResultRow(
        coordinates={path: first.get(path) for path in paths},
        labels={path: _label(group[0], path) for path in paths},
        n=len(values),
        failed=sum(cell.state == "failed" for cell in group),
        without=dict(_reasons(group)),
        mean=found.mean if found else None,
        sd=found.sd if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        values=numbers,
        excluded={cell.seed: cell.excluded for cell in group if cell.excluded is not None},
        jobs={cell.seed: cell.job for cell in group if cell.job is not None},
        states={cell.seed: cell.state for cell in group},
    )


def _reasons(group: Sequence[CellValue]) -> Iterator[tuple[str, int]]:
    reasons = [cell.why for cell in group if cell.why]
    for why in dict.fromkeys(reasons):
        yield why, reasons.count(why)


def _with_digits(rows: Sequence[ResultRow], metric: str) -> list[ResultRow]:
    texts = shown([(row.mean, row.half) for row in rows], metric)
    return [
        row.model_copy(
            update={"mean_text": text.mean or of_none(row.excluded), "half_text": text.half}
        )
        for row, text in zip(rows, texts, strict=True)
    ]
