"""
Studies that decide: seeds are added in rounds until each comparison is decided.

The progress of a study is read from its cells and its stored looks. So a restart loses nothing, no
look is taken twice, and any number of processes may take turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from normlab.errors import InvalidSpec
from normlab.presentation import deciding
from normlab.presentation.intervals import smaller_is_better
from normlab.presentation.judging import UNDECIDED, Rule, Sample
from normlab.specs.cells import Cell, expand
from normlab.specs.contrasts import Comparison, comparisons
from normlab.specs.decisions import Decide, with_more
from normlab.specs.studies import StudySpec
from service.jobs.quota import room
from service.studies import cell_values, looks
from service.studies.cell_values import Question
from service.studies.grids import add_cells, refuse_wrong_cells
from service.studies.rounds import Rounds, end

_KEYS = text("select key from study_cell where study = :study")
_LIVE = text("""
    select exists (
        select from study_cell c join job j on j.id = c.job
        where c.study = :study and j.state in ('queued', 'running')
    )
""")


class Decider(Rounds):
    """Advances every active study that decides: looks at it, and adds seeds."""

    name = "decisions"
    condition = "state = 'active' and planned = 0 and spec ? 'decide'"

    def advance(self, connection: Connection, row: Any) -> int:
        """Take looks and add seeds where due; return the number of looks and jobs."""
        if connection.execute(_LIVE, {"study": row.id}).scalar_one():
            return 0  # its round still runs
        try:
            return self._go_on(connection, row, StudySpec.from_store(row.spec))
        except (ValueError, InvalidSpec) as e:
            end(connection, row.id, "failed", f"it cannot be decided: {e}"[:1000])
            return 0

    def _go_on(self, connection: Connection, row: Any, spec: StudySpec) -> int:
        if spec.decide is None:
            return 0
        taken = looks.read(connection, row.id)
        n = _due(spec, spec.decide, looks.seeds_of(taken))
        if n is None:
            end(connection, row.id, "complete", None)
            return 0
        cells = expand(with_seeds(spec, n))
        every = comparisons(spec, cells)
        open_ = [c for c in every if looks.verdict_of(taken, c.key) == UNDECIDED]
        if not open_:
            end(connection, row.id, "complete", None)
            return 0
        missing = _missing(connection, row.id, cells, open_)
        if missing:
            return self._add(connection, row, spec, missing)
        values = cell_values.read(self._database, str(row.id), question_of(spec.decide))
        _look(connection, row.id, spec.decide, n, taken, every, open_, values)
        return len(open_)

    def _add(self, connection: Connection, row: Any, spec: StudySpec, cells: Sequence[Cell]) -> int:
        refuse_wrong_cells(cells, self._check)
        n = room(connection, row.owner, row.project, self._max_queued, len(cells))
        fitting = cells[:n]
        add_cells(connection, row, fitting, self._place(), reuse=spec.reuse)
        return len(fitting)


def with_seeds(spec: StudySpec, n: int) -> StudySpec:
    """Return *spec* with *n* seeds: its own, then the smallest that it does not name."""
    return spec.model_copy(update={"seeds": with_more(spec.seeds, n)})


def first_look(spec: StudySpec, decide: Decide) -> int:
    """Return how many seeds the first look has: the number needed, or the number given."""
    return min(max(len(spec.seeds), decide.first_look), decide.at_most)


def question_of(decide: Decide) -> Question:
    """Return which number of each job is compared."""
    return Question(decide.metric, decide.reduction)


def rule_of(decide: Decide) -> Rule:
    """Return the margin, the power and the limit."""
    return Rule(decide.by, decide.power, decide.at_most)


def _due(spec: StudySpec, decide: Decide, seeds: Sequence[int]) -> int | None:
    """Return how many seeds the next look needs; None after the last one."""
    if not seeds:
        return first_look(spec, decide)
    return deciding.following(seeds[-1], decide.at_most) if seeds[-1] < decide.at_most else None


def _missing(
    connection: Connection, study: UUID, cells: Sequence[Cell], open_: Sequence[Comparison]
) -> list[Cell]:
    wanted = {key for c in open_ for side in (c.cells, c.others) for key in side.values()}
    there = {row.key for row in connection.execute(_KEYS, {"study": study})}
    return [cell for cell in cells if cell.key in wanted and cell.key not in there]


def _look(
    connection: Connection,
    study: UUID,
    decide: Decide,
    n: int,
    taken: looks.Looks,
    every: Sequence[Comparison],
    open_: Sequence[Comparison],
    cells: Sequence[cell_values.CellValue],
) -> None:
    values = {cell.key: cell.value for cell in cells}
    found = deciding.look(
        {c.key: _sample(c, values, decide.metric) for c in open_},
        [*looks.seeds_of(taken), n],
        rule_of(decide),
        len(every),
        [looks.verdict_of(taken, c.key) for c in every if c not in open_],
    )
    looks.store(connection, study, n, found)


def _sample(comparison: Comparison, values: Mapping[str, float | None], metric: str) -> Sample:
    sign = -1.0 if smaller_is_better(metric) else 1.0
    pairs = [
        (values.get(key), values.get(comparison.others[seed]))
        for seed, key in comparison.cells.items()
    ]
    whole = tuple(sign * (a - b) for a, b in pairs if a is not None and b is not None)
    return Sample(whole, len(pairs) - len(whole))
