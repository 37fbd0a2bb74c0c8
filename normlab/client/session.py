"""The client: all of the HTTP interface, as methods that return records."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Type,
    Union,
)

import httpx

from normlab.client import references, streams
from normlab.client.inside import Inside
from normlab.client.keeping import Keeping
from normlab.client.labels import Labelling
from normlab.client.limits import Limits
from normlab.client.pages import all_items
from normlab.client.plugins import Plugins
from normlab.client.projects import Projects
from normlab.client.studies import Studies
from normlab.client.tokens import Tokens, audit
from normlab.client.transport import AnyRecord, Transport
from normlab.client.trash import Trash
from normlab.errors import ServiceUnavailable
from normlab.records import (
    ENDED,
    ArtifactRecord,
    DatasetRecord,
    DeviceRecord,
    DiagnosticKindRecord,
    DiagnosticRecord,
    EventRecord,
    JobCreated,
    JobDetail,
    JobPage,
    JobRecord,
    LogPage,
    ModelRecord,
    NormalizerRecord,
    PartRecord,
    SeriesRecord,
    Validation,
)
from normlab.records.access import AuditRecord
from normlab.records.outlook import OutlookRecord
from normlab.specs.jobs import JobSpec
from normlab.stacks.connection import Connection

# between two requests for a log that is followed
FOLLOW_S = 0.5
SERIES_AT_ONCE = 100  # the most jobs that the server accepts in one request
AnySpec = Union[JobSpec, Mapping[str, Any]]


class Client:
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
    did not answer.
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
        self.transport = Transport(
            url,
            token,
            timeout_s=timeout_s,
            tries=tries,
            http=http,
            sleep=sleep,
            certificate=None if certificate is None else Path(certificate),
        )
        self.studies = Studies(self.transport)
        self.tokens = Tokens(self.transport)
        self.plugins = Plugins(self.transport)
        self.projects = Projects(self.transport)
        self.limits = Limits(self.transport)
        self.keeping = Keeping(self.transport)
        self.trash = Trash(self.transport)
        self.labels = Labelling(self.transport)
        self.job_id = references.jobs(self.transport).full
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
            project: where it belongs; None: `default`, or the only one that you may submit to.
        """
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        how: Any = {"json": _body(spec), "headers": headers, "params": {"project": project}}
        return self.transport.record(JobCreated, "POST", "/jobs", repeatable=True, **how)

    def validate(self, spec: AnySpec) -> Validation:
        """Check a job and return what would run where, without queueing it."""
        return self.transport.record(
            Validation, "POST", "/jobs:validate", json=_body(spec), repeatable=True
        )

    def get(self, job: str) -> JobDetail:
        """Return a job with its specification and attempts."""
        return self.transport.record(JobDetail, "GET", f"/jobs/{self.job_id(job)}")

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

    def outlook(self, job: str) -> OutlookRecord:
        """Return the time left for *job*, its place in the queue, and what would change it."""
        return self.transport.record(OutlookRecord, "GET", f"/jobs/{self.job_id(job)}/outlook")

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
        Queue a longer job that goes on from the last checkpoint of *job*, which has ended.

        Args:
            job: its id.
            epochs: in all, those of *job* counted.
            max_steps: updates in all.
            anyway: accept that the result differs from that of one longer job, as it does if the
                schedule follows the length of the training.
            idempotency_key: two requests with the same key are one job; None: a new key.
            project: where it belongs; None: that of *job*.

        Raises:
            InvalidSpec: it is not longer, or would differ from one longer job; with the reason.
            Conflict: *job* has not ended, or wrote no checkpoint.
        """
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        asked = {"epochs": epochs, "max_steps": max_steps, "anyway": anyway}
        path = f"/jobs/{self.job_id(job)}/continue"
        how: Any = {"json": asked, "headers": headers, "params": {"project": project}}
        return self.transport.record(JobCreated, "POST", path, repeatable=True, **how)

    def metrics(
        self,
        job: str,
        *names: str,
        from_step: Optional[int] = None,
        to_step: Optional[int] = None,
        max_points: Optional[int] = None,
    ) -> Dict[str, SeriesRecord]:
        """
        Return series as columns, by name.

        Args:
            job: its id.
            names: of metrics, such as `val/accuracy`; without names: all metrics of the job.
            from_step: the first step.
            to_step: the last step.
            max_points: longer series are returned as buckets with mean, minimum and maximum.
        """
        wanted = names or tuple(self.get(job).last)
        span = {"from_step": from_step, "to_step": to_step, "max_points": max_points}
        path = f"/jobs/{self.job_id(job)}/metrics"
        return {
            name: self.transport.record(SeriesRecord, "GET", path, params={"name": name, **span})
            for name in wanted
        }

    def series(
        self,
        jobs: Sequence[str],
        name: str,
        *,
        from_step: Optional[int] = None,
        to_step: Optional[int] = None,
        max_points: Optional[int] = None,
    ) -> List[SeriesRecord]:
        """
        Return one metric of several jobs, in their order; empty for a job without it.

        Args:
            jobs: their ids.
            name: of the metric; the other arguments are those of `metrics`.
        """
        span = {"name": name, "from_step": from_step, "to_step": to_step, "max_points": max_points}
        ids = [self.job_id(job) for job in jobs]
        found: List[SeriesRecord] = []
        for start in range(0, len(ids), SERIES_AT_ONCE):
            params = {**span, "job": ids[start : start + SERIES_AT_ONCE]}
            found += self._records("/series", SeriesRecord, params)
        return found

    def events(self, job: Optional[str] = None, after: int = 0) -> Iterator[EventRecord]:
        """
        Yield the events of *job* until it has ended; broken connections are resumed.

        Args:
            job: its id; None: all jobs, without an end.
            after: the number of the last known event; 0: yield all events of the job or, for all
                jobs, only those from now on.
        """
        return streams.events(self.transport, None if job is None else self.job_id(job), after)

    def wait(
        self,
        job: str,
        progress: Optional[Callable[[JobDetail], None]] = None,
        timeout_s: Optional[float] = None,
    ) -> JobDetail:
        """
        Return *job* once it has ended.

        Args:
            job: its id.
            progress: called with the job after each of its events.
            timeout_s: raise ServiceUnavailable after this time; None waits forever.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        record = self.get(job)
        if progress:
            progress(record)
        if record.state in ENDED:
            return record
        for _ in self.events(job):
            if progress:
                record = self.get(job)
                progress(record)
            if deadline is not None and time.monotonic() > deadline:
                raise ServiceUnavailable(f"job {job} has not ended within {timeout_s:g} s")
        record = self.get(job)
        if progress:
            progress(record)
        return record

    def logs(self, job: str, *, offset: int = 0, follow: bool = False) -> Iterator[str]:
        """
        Yield the log of *job* in pieces.

        Args:
            job: its id.
            offset: the number of bytes to skip.
            follow: continue until the job has ended.
        """
        while True:
            path = f"/jobs/{self.job_id(job)}/logs"
            page = self.transport.record(LogPage, "GET", path, params={"offset": offset})
            if page.text:
                yield page.text
            if page.ended or (not follow and page.next_offset == offset):
                return
            if page.next_offset == offset:
                self.transport.sleep(FOLLOW_S)
            offset = page.next_offset

    def artifacts(self, job: str) -> List[ArtifactRecord]:
        """List the files of *job*."""
        return self._records(f"/jobs/{self.job_id(job)}/artifacts", ArtifactRecord)

    def diagnostics(self, job: str) -> List[DiagnosticRecord]:
        """List the results of *job*'s diagnostics that are not a series."""
        return self._records(f"/jobs/{self.job_id(job)}/diagnostics", DiagnosticRecord)

    def download(self, job: str, name: str, target: Path) -> Path:
        """Download the file *name* of *job* to *target*, atomically."""
        return self.transport.save(f"/jobs/{self.job_id(job)}/artifacts/{name}", target)

    def save_weights(self, job: str, target: Path) -> Path:
        """Download the final weights of *job* to the safetensors file *target*, atomically."""
        return self.transport.save(f"/jobs/{self.job_id(job)}/weights", target)

    def normalizers(self) -> List[NormalizerRecord]:
        """List the kinds of normalizer with their options, defaults, ranges and sources."""
        return self._records("/normalizers", NormalizerRecord)

    def models(self) -> List[ModelRecord]:
        """List the networks."""
        return self._records("/models", ModelRecord)

    def datasets(self) -> List[DatasetRecord]:
        """List the datasets and their missing files."""
        return self._records("/datasets", DatasetRecord)

    def parts(self) -> List[PartRecord]:
        """List the tasks, metrics and hooks that jobs can use."""
        return self._records("/parts", PartRecord)

    def diagnostic_kinds(self) -> List[DiagnosticKindRecord]:
        """List the diagnostics that jobs can ask for."""
        return self._records("/diagnostics", DiagnosticKindRecord)

    def devices(self) -> List[DeviceRecord]:
        """List the kinds of device and their live workers."""
        return self._records("/devices", DeviceRecord)

    def audit(self, limit: Optional[int] = None, **filters: Any) -> Iterator[AuditRecord]:
        """
        Iterate over the audit trail, who did what, newest first; for admins.

        Args:
            limit: the largest number of records; None: all.
            filters: owner, action, since, until, as in `GET /v1/audit`.
        """
        return audit(self.transport, limit, filters)

    def _records(
        self, path: str, kind: Type[AnyRecord], params: Optional[Mapping[str, Any]] = None
    ) -> List[AnyRecord]:
        answer = self.transport.send("GET", path, params=params)
        return [kind.model_validate(one) for one in answer.json()]


def _body(spec: AnySpec) -> Any:
    return spec.model_dump(mode="json") if isinstance(spec, JobSpec) else dict(spec)
