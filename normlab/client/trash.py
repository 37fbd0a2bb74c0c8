"""The trash over HTTP: deleted jobs and studies, and disk use."""

from __future__ import annotations

from typing import List

from normlab.client import references
from normlab.client.transport import Transport
from normlab.records import JobDetail, StudyRecord
from normlab.records.keeping import OwnerUsage, TrashRecord, Usage


class Trash:
    """The part of a Client that is about deleting: `client.trash`."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self._job, self._study = references.jobs(transport), references.studies(transport)
        self._old_job = references.jobs(transport, trash=True)
        self._old_study = references.studies(transport, trash=True)

    def delete_job(self, job: str) -> JobDetail:
        """Move an ended job into the trash; Conflict if it has not ended, or a study needs it."""
        return self.transport.record(JobDetail, "DELETE", f"/jobs/{self._job.full(job)}")

    def restore_job(self, job: str) -> JobDetail:
        """Take a job out of the trash."""
        path = f"/jobs/{self._old_job.full(job)}/restore"
        return self.transport.record(JobDetail, "POST", path)

    def delete_study(self, study: str) -> StudyRecord:
        """Move an ended study into the trash, with those of its jobs that no other study shows."""
        return self.transport.record(StudyRecord, "DELETE", f"/studies/{self._study.full(study)}")

    def restore_study(self, study: str) -> StudyRecord:
        """Take a study out of the trash, with the jobs that went with it."""
        path = f"/studies/{self._old_study.full(study)}/restore"
        return self.transport.record(StudyRecord, "POST", path)

    def summary(self) -> TrashRecord:
        """Say how many of your jobs and studies are in the trash, and their size."""
        return self.transport.record(TrashRecord, "GET", "/trash")

    def empty(self) -> TrashRecord:
        """Purge all that you have in the trash, in the background; it cannot be undone."""
        return self.transport.record(TrashRecord, "POST", "/trash:empty")

    def usage(self) -> List[OwnerUsage]:
        """List how much disk the files of each owner's jobs take, largest first."""
        return self.transport.record(Usage, "GET", "/usage").owners
