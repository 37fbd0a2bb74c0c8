"""
Searches: a sampler proposes trials one after another, and a pruner may stop them early.

Our tables are the source of truth: the sampler is rebuilt from the study's cells in every round, so
a restart loses nothing, and any number of processes may take turns. Therefore, only samplers
without their own state are offered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Connection, text

from normlab.errors import InvalidSpec
from normlab.specs.cells import Cell, make_cell
from normlab.specs.measures import is_timing
from normlab.specs.studies import Search, StudySpec
from service.jobs import changes
from service.jobs.quota import room
from service.studies.grids import add_cells, refuse_wrong_cells
from service.studies.rounds import Rounds, end
from service.studies.sampling import distributions, pruner_of, rebuilt

if TYPE_CHECKING:
    import optuna

_TRIALS = text("""
    select c.coordinates, c.job, c.pruned, j.state, l.value
    from study_cell c join job j on j.id = c.job
    left join metric_last l on l.job = c.job
        and l.key = (select id from metric_key where name = :metric)
        and (j.timing_valid or not :timing)
    where c.study = :study order by c.position
""")
_PRUNE = text("update study_cell set pruned = true where study = :study and job = :job")
_FRUITLESS = 20  # consecutive proposals without a new cell before the space counts as exhausted


@dataclass
class _Proposals:
    """The cells to try next, and why there are no more."""

    cells: dict[str, Cell] = field(default_factory=dict)
    used_up: bool = False
    refusal: str | None = None
    """The problem with the last proposal that could not run."""


class Searcher(Rounds):
    """Advances every active search by one round: proposes trials, and prunes some."""

    name = "searches"
    condition = "state = 'active' and planned = 0 and spec ? 'search'"

    def advance(self, connection: Connection, row: Any) -> int:
        """Propose and prune trials where due; return the number of jobs queued or stopped."""
        try:
            spec = StudySpec.from_store(row.spec)
        except ValueError as e:
            end(connection, row.id, "failed", f"its stored specification is not valid: {e}")
            return 0
        if spec.search is None:
            return 0
        return self._go_on(connection, row, spec, spec.search)

    def _go_on(self, connection: Connection, row: Any, spec: StudySpec, search: Search) -> int:
        study = row.id
        trials = trials_of(connection, study, search.metric)
        if _is_over(search, trials):
            end(connection, study, "complete", None)
            return 0
        known = rebuilt(self._database, search, trials)
        stopped = self._prune(connection, study, search, trials, known)
        live = sum(trial.state in ("queued", "running") for trial in trials)
        wanted = min(search.parallel - live, search.trials - len(trials))
        wanted = room(connection, row.owner, row.project, self._max_queued, max(0, wanted))
        found = self._proposals(spec, wanted, trials, known)
        if found.used_up and not live:
            end(connection, study, *_verdict(found, len(trials)))
        cells = list(found.cells.values())
        add_cells(connection, row, cells, self._place(), reuse=spec.reuse)
        return stopped + len(cells)

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
        return (
            "failed",
            f"{_FRUITLESS} proposals in a row could not run; the last one: {found.refusal}",
        )
    return "complete", f"the space has no more cells than the {trials} that were tried"


def _is_over(search: Search, trials: Sequence[Any]) -> bool:
    ended = all(row.state not in ("queued", "running") for row in trials)
    return ended and len(trials) >= search.trials


def trials_of(connection: Connection, study: UUID, metric: str) -> Sequence[Any]:
    """Return the trials of *study* in their order, each with the last value of *metric*."""
    asked = {"metric": metric, "timing": is_timing(metric)}
    return connection.execute(_TRIALS, {"study": study, **asked}).all()
