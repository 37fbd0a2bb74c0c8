"""Studies over HTTP: submit a grid, follow it, and change what it runs."""

from __future__ import annotations

import time
from typing import Any, Callable, Iterator, Mapping, Optional, Sequence, Tuple, Union

from normlab.client.paging import all_items
from normlab.client.study_results import StudyResults
from normlab.errors import ServiceUnavailable
from normlab.records import StudyDetail, StudyPage, StudyPreview, StudyRecord
from normlab.specs.studies import StudySpec

# between two requests for a study that is waited for
WATCH_S = 1.0
AnyStudy = Union[StudySpec, Mapping[str, Any]]


class Studies(StudyResults):
    """The part of a Client that is about studies: `client.studies`."""

    def create(self, spec: AnyStudy, project: Optional[str] = None) -> StudyRecord:
        """
        Queue every cell of a study; the same specification is the same study.

        A large study is accepted as a whole, and `queueing` until its last cell is queued.

        Args:
            spec: a StudySpec, or a dictionary that the server checks.
            project: its project; None for `default`, or the only one that you may submit to.
        """
        how: Any = {"json": _body(spec), "params": {"project": project}, "repeatable": True}
        return self.transport.record(StudyRecord, "POST", "/studies", **how)

    def preview(self, spec: AnyStudy, project: Optional[str] = None) -> StudyPreview:
        """Return what a study would run in *project*, without queueing anything."""
        how: Any = {"json": _body(spec), "params": {"project": project}, "repeatable": True}
        return self.transport.record(StudyPreview, "POST", "/studies:preview", **how)

    def extend(self, study: str, spec: AnyStudy) -> StudyRecord:
        """Extend a study to a larger grid; only the new cells are queued."""
        path = self._path(study)
        return self.transport.record(StudyRecord, "PUT", path, json=_body(spec), repeatable=True)

    def list(
        self,
        project: Optional[str] = None,
        archived: Optional[str] = None,
        *,
        trash: bool = False,
    ) -> Iterator[StudyRecord]:
        """
        Iterate over studies, newest first, page by page.

        Args:
            project: only those of this project.
            archived: hide, only or show those that are archived; None: hide.
            trash: those in the trash instead.
        """

        def ask(cursor: Optional[str], size: int) -> Tuple[Sequence[StudyRecord], Optional[str]]:
            params = {"cursor": cursor, "limit": size, "project": project, "archived": archived,
                      "trash": trash or None}  # fmt: skip
            page = self.transport.record(StudyPage, "GET", "/studies", params=params)
            return page.studies, page.next_cursor

        return all_items(ask)

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
        """Cancel every job of the study that has not ended; none starts after the answer."""
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
        Return *study* once no cell is planned, queued or running, and none will be added.

        Args:
            study: its id.
            progress: called with the study, without its cells, after every request.
            timeout_s: raise ServiceUnavailable after this time; None waits forever.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            record = self.summary(study)
            if progress:
                progress(record)
            if not _goes_on(record):
                return self.get(record.id)
            if deadline is not None and time.monotonic() > deadline:
                raise ServiceUnavailable(f"study {study} has not ended within {timeout_s:g} s")
            self.transport.sleep(WATCH_S)

    def decide(self, study: str, **asked: Any) -> StudyRecord:
        """
        Add seeds to a grid until its comparisons are decided.

        Args:
            study: its id; it has no `decide` yet.
            asked: the fields of `decide`: by, power, at_most, rarest, metric, reduction, compare.
        """
        spec = self.summary(study).spec.model_dump(mode="json")
        return self.extend(study, {**spec, "decide": asked})

    def _post(self, study: str, verb: str, body: Any = None) -> StudyRecord:
        path = self._path(study, f"/{verb}")
        # repeating the others changes nothing; repeating these two is a conflict
        repeatable = verb not in ("pause", "resume")
        return self.transport.record(StudyRecord, "POST", path, json=body, repeatable=repeatable)


def _goes_on(study: StudyDetail) -> bool:
    asked = study.spec.search is not None or study.spec.decide is not None
    moving = study.state in ("queueing", "cancelling") or (asked and study.state == "active")
    return moving or any(study.counts.get(state) for state in ("planned", "queued", "running"))


def _body(spec: AnyStudy) -> Any:
    return spec.model_dump(mode="json") if isinstance(spec, StudySpec) else dict(spec)
