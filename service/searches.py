"""
Searches: trials that a sampler proposes, one after another, stopped early where a pruner says so.

Our tables are the truth: the sampler's view is rebuilt from the study's cells at every round, so
a restart loses nothing, and any number of processes may take turns. For that reason only samplers
without a memory of their own are offered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Connection, text

from normlab.specs.cells import Cell, Coordinates, make_cell
from normlab.specs.studies import Parameter, Search, StudySpec
from service import jobs, metrics
from service.database import Database
from service.grids import Check, Place, add_cells

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
_OVER = text("update study set state = 'complete' where id = :study")
_REDUCTION = 4  # ASHA lets one trial in so many go on to the next rung
_FRUITLESS = 20  # proposals of cells that are there already, before the space counts as used up


class Searcher:
    """Advances every active search by one round; any number of processes may do so at once."""

    def __init__(self, database: Database, place: Callable[[], Place], check: Check) -> None:
        self._database = database
        self._place = place
        self._check = check

    def round(self) -> int:
        """Propose and prune where that is due; return how many jobs were queued or stopped."""
        with self._database.begin() as connection:
            active = [row.id for row in connection.execute(_ACTIVE)]
        return sum(self._advance(study) for study in active)

    def _advance(self, study: UUID) -> int:
        with self._database.begin() as connection:
            row = connection.execute(_LOCK, {"study": study}).first()
            if row is None:
                return 0  # another process has it
            spec = StudySpec.from_store(row.spec)
            if spec.search is None:
                return 0
            trials = _trials(connection, study, spec.search.metric)
            if _is_over(spec.search, trials):
                connection.execute(_OVER, {"study": study})
                return 0
            known = _rebuilt(self._database, spec.search, trials)
            stopped = self._prune(connection, study, spec.search, trials, known)
            cells = self._proposals(spec, spec.search, trials, known)
            place = self._place()
            add_cells(connection, study, cells, owner=row.owner, place=place, reuse=spec.reuse)
        return stopped + len(cells)

    def _proposals(
        self, spec: StudySpec, search: Search, trials: Sequence[Any], known: optuna.Study
    ) -> list[Cell]:
        live = sum(row.state in ("queued", "running") for row in trials)
        wanted = min(search.parallel - live, search.trials - len(trials))
        cells: dict[str, Cell] = {}
        seen = {str(sorted(row.coordinates.items())) for row in trials}
        misses = 0
        while len(cells) < wanted and misses < _FRUITLESS:
            cell = self._propose(spec, search, known)
            place = str(sorted(cell.coordinates.items()))
            if place in seen or self._check(cell.spec):
                misses += 1
                continue
            seen.add(place)
            cells[cell.key] = cell
        return list(cells.values())

    def _propose(self, spec: StudySpec, search: Search, known: optuna.Study) -> Cell:
        trial = known.ask(_distributions(search.space))
        coordinates = {path: p.value(trial.params[path]) for path, p in search.space.items()}
        return make_cell(spec, coordinates, spec.seeds[0])

    def _prune(
        self,
        connection: Connection,
        study: UUID,
        search: Search,
        trials: Sequence[Any],
        known: optuna.Study,
    ) -> int:
        pruner = _pruner(search)
        stopped = 0
        for row, trial in zip(trials, known.trials, strict=True):
            if row.state == "running" and not row.pruned and pruner.prune(known, trial):
                jobs.cancel_within(connection, row.job, cause="pruned")
                connection.execute(_PRUNE, {"study": study, "job": row.job})
                stopped += 1
        return stopped


def _is_over(search: Search, trials: Sequence[Any]) -> bool:
    ended = all(row.state not in ("queued", "running") for row in trials)
    return ended and len(trials) >= search.trials


def _trials(connection: Connection, study: UUID, metric: str) -> Sequence[Any]:
    asked = {"metric": metric, "timing": metrics.is_timing(metric)}
    return connection.execute(_TRIALS, {"study": study, **asked}).all()


def _rebuilt(database: Database, search: Search, trials: Sequence[Any]) -> optuna.Study:
    """Tell a fresh sampler everything that was tried."""
    import optuna  # large, and only searches need it

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=search.goal, sampler=_sampler(search, len(trials)))
    distributions = _distributions(search.space)
    courses = [_course(database, search, row) for row in trials]
    first = _first_rung(trials, courses) if search.pruner == "asha" else None
    for row, course in zip(trials, courses, strict=True):
        state = _trial_state(row)
        study.add_trial(
            optuna.trial.create_trial(
                state=state,
                value=row.value if state == optuna.trial.TrialState.COMPLETE else None,
                params=_params(search.space, row.coordinates),
                distributions=distributions,
                intermediate_values=course,
                system_attrs=_rungs(row, course, first) if first else {},
            )
        )
    return study


def _trial_state(row: Any) -> optuna.trial.TrialState:
    from optuna.trial import TrialState

    if row.state == "succeeded" and row.value is not None:
        return TrialState.COMPLETE
    if row.pruned:
        return TrialState.PRUNED
    return TrialState.RUNNING if row.state in ("queued", "running") else TrialState.FAIL


def _course(database: Database, search: Search, row: Any) -> dict[int, float]:
    if search.pruner == "none" or row.value is None:
        return {}
    series = metrics.read(database, str(row.job), search.metric)
    return {
        step: value
        for step, value in zip(series.steps, series.values, strict=True)
        if value is not None
    }


def _first_rung(trials: Sequence[Any], courses: Sequence[Mapping[int, float]]) -> int | None:
    """Return the step of the lowest rung, as Optuna's `auto` takes it from whole trials."""
    whole = [
        max(course)
        for row, course in zip(trials, courses, strict=True)
        if row.state == "succeeded" and course
    ]
    return max(max(whole) // 100, 1) if whole else None


def _rungs(row: Any, course: Mapping[int, float], first: int) -> dict[str, float]:
    """
    Say how *row* stood at each rung that it has reached, in the words of Optuna's ASHA.

    Optuna notes that when it is asked about a trial, on that trial; a study that was rebuilt has
    no such notes, and nobody to compete with. The highest rung of a running trial is left
    open: it is what the pruner decides about.
    """
    found: dict[str, float] = {}
    step = first
    while reached := [s for s in course if s >= step]:
        found[f"completed_rung_{len(found)}"] = course[min(reached)]
        step *= _REDUCTION
    if row.state == "running" and found:
        found.popitem()
    return found


def _sampler(search: Search, trials: int) -> optuna.samplers.BaseSampler:
    from optuna.samplers import RandomSampler, TPESampler

    seed = (search.seed + trials) % 2**32  # each round goes on from its own place
    if search.sampler == "random":
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, constant_liar=True)


def _pruner(search: Search) -> optuna.pruners.BasePruner:
    from optuna.pruners import MedianPruner, NopPruner, SuccessiveHalvingPruner

    if search.pruner == "median":
        return MedianPruner(n_startup_trials=4)
    return (
        SuccessiveHalvingPruner(reduction_factor=_REDUCTION)
        if search.pruner == "asha"
        else NopPruner()
    )


def _distributions(
    space: Mapping[str, Parameter],
) -> dict[str, optuna.distributions.BaseDistribution]:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    found: dict[str, optuna.distributions.BaseDistribution] = {}
    for path, p in space.items():
        if p.choices is not None:  # by their place, for a choice may be an object
            found[path] = CategoricalDistribution(range(len(p.choices)))
        elif p.integer:
            found[path] = IntDistribution(int(p.low or 0), int(p.high or 0), log=p.log)
        else:
            found[path] = FloatDistribution(float(p.low or 0), float(p.high or 0), log=p.log)
    return found


def _params(space: Mapping[str, Parameter], coordinates: Coordinates) -> dict[str, Any]:
    return {
        path: p.choices.index(coordinates[path]) if p.choices else coordinates[path]
        for path, p in space.items()
    }
