"""Labels of jobs and studies over HTTP: names, notes, tags, and the archive."""

from __future__ import annotations

from typing import Any

from normlab.client import references
from normlab.client.transport import Transport
from normlab.records import JobDetail, StudyRecord


class Labelling:
    """The part of a Client that is about labels: `client.labels`."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self._job, self._study = references.jobs(transport), references.studies(transport)

    def change_job(self, job: str, **labels: Any) -> JobDetail:
        """
        Change the labels of a job.

        Args:
            job: its id, or an end of it.
            labels: name, note, tags, add_tags, remove_tags, archived; what is left out stays.
        """
        path = f"/jobs/{self._job.full(job)}"
        return self.transport.record(JobDetail, "PATCH", path, json=labels, repeatable=True)

    def change_study(self, study: str, **labels: Any) -> StudyRecord:
        """Change the labels of a study, as `change_job` does those of a job."""
        path = f"/studies/{self._study.full(study)}"
        return self.transport.record(StudyRecord, "PATCH", path, json=labels, repeatable=True)
