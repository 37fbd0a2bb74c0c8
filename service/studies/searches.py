"""
Searches: a sampler proposes trials one after another, and a pruner may stop them early.

Our tables are the source of truth: the sampler is rebuilt from the study's cells in every round, so
a restart loses nothing, and any number of processes may take turns. Therefore, only samplers
without their own state are offered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Connection, text

from normlab.errors import InvalidSpec
from normlab.specs.cells import Cell, make_cell
from normlab.specs.studies import Search, StudySpec
from service.jobs import changes
from service.jobs.quota import room
from service.one_by_one import OneByOne
from service.results import metrics
from service.store.database import Database
from service.studies.grids import Check, Place, add_cells, refuse_wrong_cells
from service.studies.sampling import distributions, pruner_of, rebuilt

if TYPE_CHECKING:
    import optuna

_ACTIVE = text("select id from study where state = 'active' and spec ? 'search' order by id")
_LOCK = text(
    "select id, owner, spec from study where id = :study and state = 'active'"
    " for update skip locked"
)
_TRIALS = text("""
    select c.coordinates, c.job, c.pruned, j.state, l.value
    from study_cell c join job j on j.id = c.job
    left join metric_last l on l.job = c.job
        and l.key = (select id from metric_key where name = :metric)
        and (j.timing_valid or not :timing)
    where c.study = :study order by c.position
""")
_PRUNE = text("update study_cell set pruned = true where study = :study and job = :job")
_END = text("update study set state = :state, reason = :reason where id = :study")
_NOTE = text("""
    update study set reason = :reason
    where id = :study and state = 'active' and reason is distinct from :reason
""")
_FRUITLESS = 20  # consecutive proposals without a new cell before the space counts as exhausted


@dataclass
class _Proposals:
    """The cells to try next, and why there are no more."""

    cells: dict[str, Cell] = field(default_factory=dict)
    used_up: bool = False
    refusal: str | None = None
    """The problem with the last proposal that could not run."""


class Searcher:
    """
    Advances every active search by one round; any number of processes may do so concurrently.

    A failing search does not affect others; its study stores the reason.

    Args:
        place: makes a function that chooses devices, once per search and round.
        check: finds the problems of a trial.
        max_queued: the limit of queued jobs per owner; trials beyond it wait.
        failed: called for each failure of a search.
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
        self._searches = OneByOne("searches", self._advance, self._failed)

    def round(self) -> int:
        """Propose and prune trials where due; return the number of jobs queued or stopped."""
        with self._database.begin() as connection:
            active = [row.id for row in connection.execute(_ACTIVE)]
        return self._searches.round(active)

    def _advance(self, study: UUID) -> int:
        with self._database.begin() as connection:
            row = connection.execute(_LOCK, {"study": study}).first()
            if row is None:
                return 0  # another process is handling it
            try:
                spec = StudySpec.from_store(row.spec)
            except ValueError as e:
                _end(connection, study, "failed", f"its stored specification is none: {e}")
                return 0
            if spec.search is None:
                return 0
            touched = self._go_on(connection, study, row.owner, spec, spec.search)
            connection.execute(_NOTE, {"study": study, "reason": None})
        return touched

    def _go_on(
        self, connection: Connection, study: UUID, owner: str, spec: StudySpec, search: Search
    ) -> int:
        trials = _trials(connection, study, search.metric)
        if _is_over(search, trials):
            _end(connection, study, "complete", None)
            return 0
        known = rebuilt(self._database, search, trials)
        stopped = self._prune(connection, study, search, trials, known)
        live = sum(row.state in ("queued", "running") for row in trials)
        wanted = min(search.parallel - live, search.trials - len(trials))
        wanted = room(connection, owner, self._max_queued, max(0, wanted))
        found = self._proposals(spec, wanted, trials, known)
        if found.used_up and not live:
            _end(connection, study, *_verdict(found, len(trials)))
        cells = list(found.cells.values())
        add_cells(connection, study, cells, owner=owner, place=self._place(), reuse=spec.reuse)
        return stopped + len(cells)

    def _failed(self, study: UUID, error: Exception, pause_s: float) -> None:
        self._count_failure()
        reason = f"a round of it failed ({type(error).__name__}: {error})"[:1000]
        with self._database.begin() as connection:
            values = {"study": study, "reason": f"{reason}; it is tried again in {pause_s:g} s"}
            connection.execute(_NOTE, values)

    def _proposals(
        self, spec: StudySpec, wanted: int, trials: Sequence[Any], known: optuna.Study
    ) -> _Proposals:
        found = _Proposals()
        seen = {str(sorted(row.coordinates.items())) for row in trials}
        misses = 0
        while len(found.cells) < wanted and misses < _FRUITLESS:
            try:
                cell = self._propose(spec, known)
            except InvalidSpec as e:  # an invalid combination
                found.refusal = str(e)
                misses += 1
                continue
            place = str(sorted(cell.coordinates.items()))
            misses = misses + 1 if place in seen else 0
            found.refusal = None
            if misses == 0:
                seen.add(place)
                found.cells[cell.key] = cell
        found.used_up = misses == _FRUITLESS and not found.cells
        return found

    def _propose(self, spec: StudySpec, known: optuna.Study) -> Cell:
        space = spec.search.space if spec.search else {}
        trial = known.ask(distributions(space))
        coordinates = {path: p.value(trial.params[path]) for path, p in space.items()}
        cell = make_cell(spec, coordinates, spec.seeds[0])
        refuse_wrong_cells([cell], self._check)
        return cell

    def _prune(
        self,
        connection: Connection,
        study: UUID,
        search: Search,
        trials: Sequence[Any],
        known: optuna.Study,
    ) -> int:
        pruner = pruner_of(search)
        stopped = 0
        for row, trial in zip(trials, known.trials, strict=True):
            if row.state == "running" and not row.pruned and pruner.prune(known, trial):
                changes.cancel_within(connection, row.job, cause="pruned")
                connection.execute(_PRUNE, {"study": study, "job": row.job})
                stopped += 1
        return stopped


def _verdict(found: _Proposals, trials: int) -> tuple[str, str]:
    if found.refusal is not None:
        return "failed", f"{_FRUITLESS} proposals in a row cannot run; the last: {found.refusal}"
    return "complete", f"the space has no more cells than the {trials} that were tried"


def _end(connection: Connection, study: UUID, state: str, reason: str | None) -> None:
    connection.execute(_END, {"study": study, "state": state, "reason": reason})


def _is_over(search: Search, trials: Sequence[Any]) -> bool:
    ended = all(row.state not in ("queued", "running") for row in trials)
    return ended and len(trials) >= search.trials


def _trials(connection: Connection, study: UUID, metric: str) -> Sequence[Any]:
    asked = {"metric": metric, "timing": metrics.is_timing(metric)}
    return connection.execute(_TRIALS, {"study": study, **asked}).all()
