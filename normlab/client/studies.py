"""Studies over HTTP: send a grid, complete it, read what it found."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Callable, Iterator, List, Mapping, Optional, Sequence, Union

from normlab.client import references
from normlab.client.transport import Transport
from normlab.errors import ServiceUnavailable
from normlab.records import (
    ComparisonTable,
    ResultTable,
    StudyDetail,
    StudyPage,
    StudyPreview,
    StudyRecord,
)
from normlab.records.decisions import DecisionTable
from normlab.specs.studies import StudySpec

if TYPE_CHECKING:
    import pandas as pd

# between looks at a study that somebody waits for
WATCH_S = 1.0
AnyStudy = Union[StudySpec, Mapping[str, Any]]


class Studies:
    """The part of a Client that is about studies: `client.studies`."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.study_id = references.studies(transport).full

    def create(self, spec: AnyStudy) -> StudyRecord:
        """Queue every cell of a study; the same specification is the same study."""
        answer = self.transport.send("POST", "/studies", json=_body(spec), repeatable=True)
        return StudyRecord.model_validate_json(answer.content)

    def preview(self, spec: AnyStudy) -> StudyPreview:
        """Ask what a study would run, without queueing anything."""
        answer = self.transport.send("POST", "/studies:preview", json=_body(spec), repeatable=True)
        return StudyPreview.model_validate_json(answer.content)

    def extend(self, study: str, spec: AnyStudy) -> StudyRecord:
        """Give a study a larger grid; only the new cells are queued."""
        answer = self.transport.send(
            "PUT", f"/studies/{self.study_id(study)}", json=_body(spec), repeatable=True
        )
        return StudyRecord.model_validate_json(answer.content)

    def get(self, study: str) -> StudyDetail:
        """Return a study with all its cells."""
        answer = self.transport.send("GET", f"/studies/{self.study_id(study)}")
        return StudyDetail.model_validate_json(answer.content)

    def list(self) -> Iterator[StudyRecord]:
        """Iterate over studies, newest first, asking for page after page."""
        cursor: Optional[str] = None
        while True:
            answer = self.transport.send("GET", "/studies", params={"cursor": cursor})
            page = StudyPage.model_validate_json(answer.content)
            yield from page.studies
            cursor = page.next_cursor
            if cursor is None:
                return

    def complete(self, study: str) -> StudyRecord:
        """Run only the missing, failed or cancelled cells."""
        return self._post(study, "complete")

    def pause(self, study: str) -> StudyRecord:
        """Hold back the queued jobs; running jobs continue."""
        return self._post(study, "pause")

    def resume(self, study: str) -> StudyRecord:
        """Let the held jobs run."""
        return self._post(study, "resume")

    def cancel(self, study: str) -> StudyRecord:
        """Cancel every job of the study that has not ended."""
        return self._post(study, "cancel")

    def set_priority(self, study: str, priority: int) -> StudyRecord:
        """Move the queued jobs up or down."""
        return self._post(study, "priority", {"priority": priority})

    def wait(
        self,
        study: str,
        progress: Optional[Callable[[StudyRecord], None]] = None,
        timeout_s: Optional[float] = None,
    ) -> StudyRecord:
        """
        Return *study* once no cell is queued or running, and none will be added.

        Args:
            study: its id.
            progress: called with every look at it.
            timeout_s: raise ServiceUnavailable after this time; None waits forever.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            record = self.get(study)
            if progress:
                progress(record)
            asked = record.spec.search is not None or record.spec.decide is not None
            growing = asked and record.state == "active"
            if not (growing or record.counts.get("queued") or record.counts.get("running")):
                return record
            if deadline is not None and time.monotonic() > deadline:
                raise ServiceUnavailable(f"study {study} has not ended within {timeout_s:g} s")
            self.transport.sleep(WATCH_S)

    def results(
        self,
        study: str,
        *,
        group_by: Optional[Sequence[str]] = None,
        where: Optional[Mapping[str, str]] = None,
        metric: str = "val/accuracy",
        reduction: str = "last",
        interval: str = "t",
        confidence: float = 0.95,
    ) -> ResultTable:
        """
        Tabulate a metric over the study's cells: means over seeds, and over nothing else.

        Args:
            study: its id.
            group_by: paths that form the rows; None: all that vary; with `seed`: one row per job.
                Omitted paths may not vary within a row.
            where: path to label, as rows have it: only the cells with these values.
            metric: its name.
            reduction: last, best, area, or mean_last:K.
            interval: t or bootstrap.
            confidence: its coverage.

        Raises:
            InvalidSpec: rows that would pool cells which differ in more than their seed.
        """
        params = {
            "group_by": None if group_by is None else list(group_by),
            "where": [f"{path}={name}" for path, name in (where or {}).items()] or None,
            "metric": metric,
            "reduction": reduction,
            "interval": interval,
            "confidence": confidence,
        }
        answer = self.transport.send(
            "GET", f"/studies/{self.study_id(study)}/results", params=params
        )
        return ResultTable.model_validate_json(answer.content)

    def metrics(self, study: str) -> List[str]:
        """Name the metrics that any job of the study has reported."""
        names: List[str] = self.transport.send(
            "GET", f"/studies/{self.study_id(study)}/metrics"
        ).json()
        return names

    def frame(
        self,
        study: str,
        metrics: Union[str, Sequence[str], None] = None,
        *,
        reduction: str = "last",
    ) -> pd.DataFrame:
        """
        Return the results as a pandas frame with a row for each job.

        Paths keep their types (`batch_size` is int64), a value with options is its label, such as
        `group(groups=4)`; `state` is a category, each metric a column of floats.

        Args:
            study: its id.
            metrics: their names, or one; None: every metric that a job of the study reported.
            reduction: last, best, area, or mean_last:K; of each metric.

        Raises:
            InvalidSpec: no job of the study reported such a metric, with names that are near.
        """
        from normlab.client.frames import frame

        names = [metrics] if isinstance(metrics, str) else metrics
        names = self.metrics(study) if names is None else names
        tables = [self.results(study, metric=name, reduction=reduction) for name in names]
        return frame(self.get(study), tables)

    def compare(
        self, study: str, axis: str, a: str, b: str, metric: str = "val/accuracy", **question: Any
    ) -> ComparisonTable:
        """Compare two values of *axis* seed by seed: a minus b, with its interval."""
        params = {"axis": axis, "a": a, "b": b, "metric": metric, **question}
        answer = self.transport.send(
            "GET", f"/studies/{self.study_id(study)}/compare", params=params
        )
        return ComparisonTable.model_validate_json(answer.content)

    def decision(self, study: str) -> DecisionTable:
        """
        Return the verdict of each comparison of a study with `decide`, and its looks.

        Raises:
            NotFound: the study decides nothing.
        """
        answer = self.transport.send("GET", f"/studies/{self.study_id(study)}/decision")
        return DecisionTable.model_validate_json(answer.content)

    def decide(self, study: str, **asked: Any) -> StudyRecord:
        """
        Let a grid add seeds until its comparisons are decided.

        Args:
            study: its id; nobody has decided it yet.
            asked: the fields of `decide`: by, power, at_most, rarest, metric, reduction, compare.
        """
        spec = self.get(study).spec.model_dump(mode="json")
        return self.extend(study, {**spec, "decide": asked})

    def _post(self, study: str, verb: str, body: Any = None) -> StudyRecord:
        path = f"/studies/{self.study_id(study)}/{verb}"
        # a second delivery of the others finds its work done; of these two, a conflict
        repeatable = verb not in ("pause", "resume")
        answer = self.transport.send("POST", path, json=body, repeatable=repeatable)
        return StudyRecord.model_validate_json(answer.content)


def _body(spec: AnyStudy) -> Any:
    return spec.model_dump(mode="json") if isinstance(spec, StudySpec) else dict(spec)
