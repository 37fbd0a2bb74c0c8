"""
Studies that decide: seeds are added in rounds until each comparison is decided.

Where a study stands is read from its cells and its stored looks, so a restart loses nothing, no
look is taken twice, and any number of processes may take turns.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from normlab.errors import InvalidSpec
from normlab.presentation import deciding
from normlab.presentation.deciding import UNDECIDED, Rule, Sample
from normlab.presentation.intervals import smaller_is_better
from normlab.specs.cells import Cell, expand
from normlab.specs.contrasts import Comparison, comparisons
from normlab.specs.decisions import Decide
from normlab.specs.studies import StudySpec
from service.jobs.quota import room
from service.one_by_one import OneByOne
from service.store.database import Database
from service.studies import cell_values, looks
from service.studies.cell_values import Question
from service.studies.grids import Check, Place, add_cells, refuse_wrong_cells

_ACTIVE = text("select id from study where state = 'active' and spec ? 'decide' order by id")
_LOCK = text(
    "select id, owner, spec from study where id = :study and state = 'active'"
    " for update skip locked"
)
_KEYS = text("select key from study_cell where study = :study")
_LIVE = text("""
    select exists (
        select from study_cell c join job j on j.id = c.job
        where c.study = :study and j.state in ('queued', 'running')
    )
""")
_END = text("update study set state = :state, reason = :reason where id = :study")
_NOTE = text("""
    update study set reason = :reason
    where id = :study and state = 'active' and reason is distinct from :reason
""")


class Decider:
    """
    Advances every active study that decides; any number of processes may do so at once.

    A study that fails does so by itself: it says why, and the others go on.

    Args:
        place: makes what chooses a device, once for each study of a round.
        check: finds what is wrong with a cell.
        max_queued: the most jobs that an owner may have queued; cells beyond it wait.
        failed: called at each failure of a study.
    """

    def __init__(
        self,
        database: Database,
        place: Callable[[], Place],
        check: Check,
        max_queued: int | None = None,
        failed: Callable[[], object] = lambda: None,
    ) -> None:
        self._database = database
        self._place = place
        self._check = check
        self._max_queued = max_queued
        self._count_failure = failed
        self._studies = OneByOne("decisions", self._advance, self._failed)

    def round(self) -> int:
        """Look and add seeds where that is due; return how many looks and jobs that were."""
        with self._database.begin() as connection:
            active = [row.id for row in connection.execute(_ACTIVE)]
        return self._studies.round(active)

    def _advance(self, study: UUID) -> int:
        with self._database.begin() as connection:
            row = connection.execute(_LOCK, {"study": study}).first()
            if row is None or connection.execute(_LIVE, {"study": study}).scalar_one():
                return 0  # another process has it, or its round still runs
            try:
                touched = self._go_on(connection, row, StudySpec.from_store(row.spec))
            except (ValueError, InvalidSpec) as e:
                _end(connection, study, "failed", f"it cannot be decided: {e}"[:1000])
                return 0
            connection.execute(_NOTE, {"study": study, "reason": None})
        return touched

    def _go_on(self, connection: Connection, row: Any, spec: StudySpec) -> int:
        if spec.decide is None:
            return 0
        taken = looks.read(connection, row.id)
        n = _due(spec, spec.decide, looks.seeds_of(taken))
        if n is None:
            _end(connection, row.id, "complete", None)
            return 0
        cells = expand(with_seeds(spec, n))
        every = comparisons(spec, cells)
        open_ = [c for c in every if looks.verdict_of(taken, c.key) == UNDECIDED]
        if not open_:
            _end(connection, row.id, "complete", None)
            return 0
        missing = _missing(connection, row.id, cells, open_)
        if missing:
            return self._add(connection, row, spec, missing)
        values = cell_values.read(self._database, str(row.id), question_of(spec.decide))
        _look(connection, row.id, spec.decide, n, taken, every, open_, values)
        return len(open_)

    def _add(self, connection: Connection, row: Any, spec: StudySpec, cells: Sequence[Cell]) -> int:
        refuse_wrong_cells(cells, self._check)
        fitting = cells[: room(connection, row.owner, self._max_queued, len(cells))]
        place = self._place()
        add_cells(connection, row.id, fitting, owner=row.owner, place=place, reuse=spec.reuse)
        return len(fitting)

    def _failed(self, study: UUID, error: Exception, pause_s: float) -> None:
        self._count_failure()
        reason = f"a round of it failed ({type(error).__name__}: {error})"[:1000]
        with self._database.begin() as connection:
            values = {"study": study, "reason": f"{reason}; it is tried again in {pause_s:g} s"}
            connection.execute(_NOTE, values)


def with_seeds(spec: StudySpec, n: int) -> StudySpec:
    """Return *spec* with *n* seeds: its own, then the smallest that it does not name."""
    given = set(spec.seeds)
    more = (seed for seed in itertools.count() if seed not in given)
    seeds = (*spec.seeds, *itertools.islice(more, max(0, n - len(spec.seeds))))
    return spec.model_copy(update={"seeds": seeds})


def question_of(decide: Decide) -> Question:
    """Return which number of each job is compared."""
    return Question(decide.metric, decide.reduction)


def rule_of(decide: Decide) -> Rule:
    """Return the margin, the power and the limit."""
    return Rule(decide.by, decide.power, decide.at_most)


def _due(spec: StudySpec, decide: Decide, seeds: Sequence[int]) -> int | None:
    """Return how many seeds the next look needs; None after the last one."""
    if not seeds:
        return deciding.sizes(len(spec.seeds), decide.at_most)[0]
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


def _end(connection: Connection, study: UUID, state: str, reason: str | None) -> None:
    connection.execute(_END, {"study": study, "state": state, "reason": reason})
