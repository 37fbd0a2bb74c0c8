"""Many jobs as one object for notebooks: a frame, curves, differences, a plot."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Optional, Sequence

from normlab.client.tables import rows_of, typed_column, typed_frame
from normlab.client.whole_ids import with_whole_ids
from normlab.errors import InvalidSpec, ServiceUnavailable
from normlab.records import ENDED, JobRecord
from normlab.records.as_html import jobs_table

if TYPE_CHECKING:
    import pandas as pd

    from normlab.client.session import Client


COLUMNS = (
    "id", "name", "study", "state", "normalizer", "model", "dataset", "batch_size", "optimizer.lr",
    "seed", "epochs", "duration", "created_at",
)  # fmt: skip
_NOT_COMPARED = {"name", "priority", "code"}
_MOST_COMPARED = 200
_MOST_SHOWN = 20
_LOOK_S = 1.0


class Runs(Sequence[JobRecord]):
    """
    The jobs that a filter finds, read at the first use; `refresh` reads them again.

    Args:
        client: of the service.
        where: the filter; None: all jobs.
        limit: the largest number of jobs; None: all.
    """

    def __init__(self, client: Client, where: Optional[str], limit: Optional[int] = None) -> None:
        self._client = client
        self.where = where
        self.limit = limit
        self._jobs: Optional[List[JobRecord]] = None

    @property
    def jobs(self) -> List[JobRecord]:
        """The jobs, newest first."""
        if self._jobs is None:
            self._jobs = list(self._client.list(limit=self.limit, filter=self.where))
        return self._jobs

    def refresh(self) -> Runs:
        """Read the jobs again at the next use."""
        self._jobs = None
        return self

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, at: Any) -> Any:
        """Return the job at a place, or a list of those of a slice."""
        return self.jobs[at]

    def __iter__(self) -> Iterator[JobRecord]:
        return iter(self.jobs)

    def __repr__(self) -> str:
        return f"<{len(self)} runs: {self.where or 'all'}>"

    def _repr_html_(self) -> str:
        return jobs_table(self.jobs[:_MOST_SHOWN], len(self))

    def frame(
        self,
        metrics: Sequence[str] = (),
        *,
        columns: Sequence[str] = COLUMNS,
        reduction: str = "last",
    ) -> pd.DataFrame:
        """
        Return a pandas frame with one row per job, in the order of `jobs`.

        Numbers are int64 or float64 (Int64 where a whole one is missing), moments are in UTC,
        truth values bool, texts string.

        Args:
            metrics: their names; one column of floats each, NaN where a job has no value.
                `attrs["not_finite"]` of the frame has the names of values that are NaN or infinite,
                by metric and job, which distinguishes them from missing ones.
            columns: of the list of jobs, such as `owner`, or fields such as `optimizer.lr`.
            reduction: last, best, min, max or mean, of each metric.

        Raises:
            InvalidSpec: there is no such column; the message has similar names.
        """
        if isinstance(metrics, str):
            metrics = [metrics]
        named = {name: f"{name}:{reduction}" for name in metrics}
        asked = [*columns, *named.values()]
        kinds, rows = rows_of(self._client.transport, self.where, asked, self.limit)
        return typed_frame([*columns, *named], kinds, rows)

    def curves(self, *metrics: str, max_points: int = 500) -> pd.DataFrame:
        """
        Return the curves of *metrics* as a long frame: job, metric, step, value, time.

        Args:
            metrics: their names; a job without one has no rows for it.
            max_points: longer series are returned as this many buckets with their means.
        """
        import pandas as pd

        ids = [job.id for job in self]
        parts = [
            pd.DataFrame(
                {
                    "job": job,
                    "metric": metric,
                    "step": pd.Series(found.steps, dtype="int64"),
                    "value": pd.Series(found.values, dtype="float64"),
                    "time": pd.to_datetime(found.times, unit="s", utc=True),
                }
            )
            for metric in metrics
            for job, found in zip(ids, self._client.series(ids, metric, max_points=max_points))
        ]
        if not parts:
            return pd.DataFrame({name: [] for name in ("job", "metric", "step", "value", "time")})
        curves = pd.concat(parts, ignore_index=True)
        return with_whole_ids(curves.astype({"job": "string", "metric": "string"}))

    def compare(self) -> pd.DataFrame:
        """
        Return the fields in which the specifications differ, one row per job, and nothing else.

        The columns are typed as those of `frame`.

        Raises:
            InvalidSpec: there are more than 200 jobs.
        """
        import pandas as pd

        from normlab.specs.differences import differing

        if len(self) > _MOST_COMPARED:
            raise InvalidSpec(
                f"{len(self)} runs: at most {_MOST_COMPARED} are compared; narrow the filter"
            )
        specs = [self._client.get(job.id).spec for job in self]
        plain = [spec.model_dump(mode="json", exclude=_NOT_COMPARED) for spec in specs]
        fields: Dict[str, List[Any]] = differing(plain) if plain else {}
        columns = {path: typed_column("field", values) for path, values in fields.items()}
        ids = pd.Index([job.id for job in self], dtype="string", name="job")
        return with_whole_ids(pd.DataFrame(columns, index=range(len(ids))).set_index(ids))

    def plot(self, metric: str, *, by: str = "normalizer", ax: Any = None) -> Any:
        """
        Draw the curves of *metric*, one line per job, and return matplotlib's axes.

        Args:
            metric: its name.
            by: the column or field that colours the lines.
            ax: axes to draw into; None: new ones.
        """
        from normlab.presentation.courses import draw_courses

        values = self.frame(columns=["id", by]).set_index("id")[by]
        return draw_courses(self.curves(metric), values, metric, ax)

    def wait(self, timeout_s: Optional[float] = None) -> Runs:
        """
        Return once all jobs have ended; a notebook shows their progress in place meanwhile.

        Args:
            timeout_s: raise ServiceUnavailable after this time; None waits forever.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        show = in_place()
        while True:
            ended = all(job.state in ENDED for job in self)
            show(_Ended(self.jobs) if ended else self)
            if ended:
                return self
            if deadline is not None and time.monotonic() > deadline:
                left = sum(job.state not in ENDED for job in self)
                raise ServiceUnavailable(f"{left} runs have not ended within {timeout_s:g} s")
            self._client.transport.sleep(_LOOK_S)
            self.refresh()


class _Ended:
    """One line in place of the progress: the table itself is what the cell returns."""

    def __init__(self, jobs: Sequence[JobRecord]) -> None:
        self._jobs = jobs

    def __repr__(self) -> str:
        counts = Counter(job.state for job in self._jobs)
        said = ", ".join(f"{counts[state]} {state}" for state in sorted(counts, reverse=True))
        return f"{len(self._jobs)} runs have ended: {said}" if said else "no runs"


def in_place() -> Callable[[Any], None]:
    """Return a function that shows a value in place of the last one; nothing outside notebooks."""
    shell = sys.modules.get("IPython")
    if shell is None or shell.get_ipython() is None:  # do not import it for this
        return lambda value: None
    handles: List[Any] = []

    def show(value: Any) -> None:
        if handles:
            handles[0].update(value)
        else:
            handles.append(shell.display.display(value, display_id=True))

    return show
