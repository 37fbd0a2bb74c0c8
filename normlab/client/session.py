"""The client: jobs, studies and everything about them, as methods that return records."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Iterator, List, Mapping, Optional, Tuple, Type, Union

import httpx

from normlab.client.inside import Inside
from normlab.client.labels import Labelling
from normlab.client.paging import all_items
from normlab.client.plugins import Plugins
from normlab.client.projects import Keeping, Limits, Projects
from normlab.client.reading import JobReader
from normlab.client.studies import Studies
from normlab.client.tokens import Tokens, audit
from normlab.client.transport import Transport
from normlab.client.trash import Trash
from normlab.records import (
    DatasetRecord,
    DeviceRecord,
    DiagnosticKindRecord,
    JobCreated,
    JobPage,
    JobRecord,
    ModelRecord,
    NormalizerRecord,
    PartRecord,
    Validation,
)
from normlab.records.access import AuditRecord
from normlab.specs.jobs import JobSpec
from normlab.stacks.connection import Connection

AnySpec = Union[JobSpec, Mapping[str, Any]]


class Client(JobReader):
    """
    A connection to a normlab API; use it as a context, or call `close`.

    Args:
        url: such as `http://127.0.0.1:8000`.
        token: as printed by `normlab up`.
        timeout_s: the longest silence of the server within one request.
        tries: the number of tries for a request that may be repeated; 1 never repeats.
        http: another transport of httpx, for tests.
        sleep: waits between tries.
        certificate: the file of the server's certificate, if no authority has signed it.

    A job or study is given by its id, or by a unique beginning or end of it; `job_id` completes
    such a part. A study may also be given by its name, if it is unique among yours. Every method
    raises an error of `normlab.errors`: the one that the server sent, or ServiceUnavailable if it
    did not answer. There are no methods for what only the web page needs (its tables, saved views
    and figures).
    """

    def __init__(
        self,
        url: str,
        token: Optional[str] = None,
        *,
        timeout_s: float = 30.0,
        tries: int = 5,
        http: Optional[httpx.BaseTransport] = None,
        sleep: Callable[[float], None] = time.sleep,
        certificate: Union[str, Path, None] = None,
    ) -> None:
        transport = Transport(
            url,
            token,
            timeout_s=timeout_s,
            tries=tries,
            http=http,
            sleep=sleep,
            certificate=None if certificate is None else Path(certificate),
        )
        super().__init__(transport)
        self.studies = Studies(self.transport)
        self.tokens = Tokens(self.transport)
        self.plugins = Plugins(self.transport)
        self.projects = Projects(self.transport)
        self.limits = Limits(self.transport)
        self.keeping = Keeping(self.transport)
        self.trash = Trash(self.transport)
        self.labels = Labelling(self.transport)
        self.inside = Inside(self.transport, self.job_id)

    @classmethod
    def of(cls, found: Connection, **how: Any) -> Client:
        """Return a client of the stack that *found* connects to; *how* is that of `Client`."""
        return cls(found.url, found.token, certificate=found.certificate, **how)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()

    def submit(
        self,
        spec: AnySpec,
        *,
        idempotency_key: Optional[str] = None,
        project: Optional[str] = None,
    ) -> JobCreated:
        """
        Queue a job; after a lost answer the request is repeated, but there is only one job.

        Args:
            spec: a JobSpec, or a dictionary that the server checks.
            idempotency_key: two submissions with the same key are one job; None: a new key.
            project: its project; None for `default`, or the only one that you may submit to.
        """
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        how: Any = {"json": _body(spec), "headers": headers, "params": {"project": project}}
        return self.transport.record(JobCreated, "POST", "/jobs", repeatable=True, **how)

    def validate(self, spec: AnySpec) -> Validation:
        """Check a job and return what would run where, without queueing it."""
        return self.transport.record(
            Validation, "POST", "/jobs:validate", json=_body(spec), repeatable=True
        )

    def page(self, **filters: Any) -> JobPage:
        """Return one page of jobs; *filters* are the query of `GET /v1/jobs`."""
        if filters.get("study"):
            filters["study"] = self.studies.study_id(filters["study"])
        return self.transport.record(JobPage, "GET", "/jobs", params=filters)

    def list(self, limit: Optional[int] = None, **filters: Any) -> Iterator[JobRecord]:
        """
        Iterate over jobs, page by page.

        Args:
            limit: the largest number of jobs; None: all.
            filters: state, device, normalizer, study, project, sort, as in `GET /v1/jobs`.
        """

        def ask(cursor: Optional[str], size: int) -> Tuple[List[JobRecord], Optional[str]]:
            page = self.page(limit=size, cursor=cursor, **filters)
            return page.jobs, page.next_cursor

        return all_items(ask, limit)

    def cancel(self, job: str) -> JobRecord:
        """Ask a job to stop; a running one first writes a checkpoint."""
        return self.transport.record(JobRecord, "POST", f"/jobs/{self.job_id(job)}/cancel")

    def retry(self, job: str) -> JobRecord:
        """Queue a failed or cancelled job again; it continues from its checkpoint."""
        return self.transport.record(JobRecord, "POST", f"/jobs/{self.job_id(job)}/retry")

    def go_on(
        self,
        job: str,
        *,
        epochs: Optional[int] = None,
        max_steps: Optional[int] = None,
        anyway: bool = False,
        idempotency_key: Optional[str] = None,
        project: Optional[str] = None,
    ) -> JobCreated:
        """
        Queue a longer job that continues from the last checkpoint of *job*, which has ended.

        Args:
            job: its id.
            epochs: the total number, including those of *job*.
            max_steps: the total number of updates.
            anyway: accept that the result differs from that of one longer job, as it does if the
                schedule depends on the length of the training.
            idempotency_key: two requests with the same key are one job; None: a new key.
            project: its project; None for that of *job*.

        Raises:
            InvalidSpec: it is not longer, or would differ from one longer job; the message has the
                reason.
            Conflict: *job* has not ended, or wrote no checkpoint.
        """
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        asked = {"epochs": epochs, "max_steps": max_steps, "anyway": anyway}
        path = f"/jobs/{self.job_id(job)}/continue"
        how: Any = {"json": asked, "headers": headers, "params": {"project": project}}
        return self.transport.record(JobCreated, "POST", path, repeatable=True, **how)

    def normalizers(self) -> List[NormalizerRecord]:
        """List the kinds of normalizer with their options, defaults, ranges and sources."""
        return self.transport.records(NormalizerRecord, "/normalizers")

    def models(self) -> List[ModelRecord]:
        """List the networks."""
        return self.transport.records(ModelRecord, "/models")

    def datasets(self) -> List[DatasetRecord]:
        """List the datasets and their missing files."""
        return self.transport.records(DatasetRecord, "/datasets")

    def parts(self) -> List[PartRecord]:
        """List the tasks, metrics and hooks that jobs can use."""
        return self.transport.records(PartRecord, "/parts")

    def diagnostic_kinds(self) -> List[DiagnosticKindRecord]:
        """List the diagnostics that jobs can ask for."""
        return self.transport.records(DiagnosticKindRecord, "/diagnostics")

    def devices(self) -> List[DeviceRecord]:
        """List the kinds of device and their live workers."""
        return self.transport.records(DeviceRecord, "/devices")

    def audit(self, limit: Optional[int] = None, **filters: Any) -> Iterator[AuditRecord]:
        """
        Iterate over the audit trail, newest first; for admins.

        Args:
            limit: the largest number of records; None: all.
            filters: owner, action, since, until, as in `GET /v1/audit`.
        """
        return audit(self.transport, limit, filters)


def _body(spec: AnySpec) -> Any:
    return spec.model_dump(mode="json") if isinstance(spec, JobSpec) else dict(spec)
