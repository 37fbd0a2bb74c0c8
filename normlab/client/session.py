"""The client: everything that the HTTP interface offers, as methods that return records."""

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
    Type,
    TypeVar,
    Union,
)

import httpx
from pydantic import BaseModel

from normlab.client import references, streams
from normlab.client.studies import Studies
from normlab.client.tokens import Tokens, audit
from normlab.client.transport import Transport
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
from normlab.specs.jobs import JobSpec

# between looks at a log that somebody follows
FOLLOW_S = 0.5
SERIES_AT_ONCE = 100  # the server takes no more jobs in one request
AnyRecord = TypeVar("AnyRecord", bound=BaseModel)
AnySpec = Union[JobSpec, Mapping[str, Any]]


class Client:
    """
    A connection to a normlab API; use it as a context, or call `close`.

    Args:
        url: such as `http://127.0.0.1:8000`.
        token: as `normlab up` printed it.
        timeout_s: seconds that one request may stay silent.
        tries: of a request that may be sent again; 1 never repeats.
        http: another transport of httpx, for tests.
        sleep: how to pass the time between tries.

    A job or study is named by its id, or by the beginning or end of it that no other has; `job_id`
    completes such a part. A study also goes by its name where no other of yours has it. Every
    method raises an error of `normlab.errors`: what the server answered, or ServiceUnavailable
    where it did not answer.
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
    ) -> None:
        self.transport = Transport(
            url, token, timeout_s=timeout_s, tries=tries, http=http, sleep=sleep
        )
        self.studies = Studies(self.transport)
        self.tokens = Tokens(self.transport)
        self.job_id = references.jobs(self.transport).full

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

    def submit(self, spec: AnySpec, *, idempotency_key: Optional[str] = None) -> JobCreated:
        """
        Queue a job; a lost answer is asked for again, and never makes a second job.

        Args:
            spec: a JobSpec, or a dictionary that the server checks.
            idempotency_key: two submissions with one key are one job; None makes a key.
        """
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        answer = self.transport.send(
            "POST", "/jobs", json=_body(spec), headers=headers, repeatable=True
        )
        return JobCreated.model_validate_json(answer.content)

    def validate(self, spec: AnySpec) -> Validation:
        """Ask what would be run and where, without queueing it."""
        answer = self.transport.send("POST", "/jobs:validate", json=_body(spec), repeatable=True)
        return Validation.model_validate_json(answer.content)

    def get(self, job: str) -> JobDetail:
        """Return a job with its specification and attempts."""
        return JobDetail.model_validate_json(
            self.transport.send("GET", f"/jobs/{self.job_id(job)}").content
        )

    def page(self, **filters: Any) -> JobPage:
        """Return one page of jobs; *filters* are the query of `GET /v1/jobs`."""
        if filters.get("study"):
            filters["study"] = self.studies.study_id(filters["study"])
        answer = self.transport.send("GET", "/jobs", params=filters)
        return JobPage.model_validate_json(answer.content)

    def list(self, limit: Optional[int] = None, **filters: Any) -> Iterator[JobRecord]:
        """
        Iterate over jobs, asking for page after page.

        Args:
            limit: of jobs in all; None: every one.
            filters: state, device, normalizer, study, sort, as in `GET /v1/jobs`.
        """
        left, cursor = limit, None
        while left is None or left > 0:
            size = min(left, 100) if left is not None else 100
            page = self.page(limit=size, cursor=cursor, **filters)
            yield from page.jobs
            left = None if left is None else left - len(page.jobs)
            cursor = page.next_cursor
            if cursor is None:
                return

    def cancel(self, job: str) -> JobRecord:
        """Ask a job to stop; a running one first writes a checkpoint."""
        answer = self.transport.send("POST", f"/jobs/{self.job_id(job)}/cancel")
        return JobRecord.model_validate_json(answer.content)

    def retry(self, job: str) -> JobRecord:
        """Queue a failed or cancelled job again; it continues from its checkpoint."""
        answer = self.transport.send("POST", f"/jobs/{self.job_id(job)}/retry")
        return JobRecord.model_validate_json(answer.content)

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
            names: of metrics, such as `val/accuracy`; none: all that the job has.
            from_step: first step wanted.
            to_step: last step wanted.
            max_points: longer series come as buckets with mean, minimum and maximum.
        """
        wanted = names or tuple(self.get(job).last)
        span = {"from_step": from_step, "to_step": to_step, "max_points": max_points}
        return {name: self._series(job, name, span) for name in wanted}

    def _series(self, job: str, name: str, span: Mapping[str, Any]) -> SeriesRecord:
        params = {"name": name, **span}
        answer = self.transport.send("GET", f"/jobs/{self.job_id(job)}/metrics", params=params)
        return SeriesRecord.model_validate_json(answer.content)

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
        Return one metric of several jobs, in their order; empty where a job has none of it.

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
        Yield what happens to *job* until it has ended; broken connections are resumed.

        Args:
            job: its id; None: all jobs, for ever.
            after: the number of the last event that is known; 0: none is, and of all jobs only
                what happens from now on is told.
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
            progress: called with the job whenever something has happened to it.
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
        Yield pieces of what *job* wrote.

        Args:
            job: its id.
            offset: bytes to leave out.
            follow: go on until the job has ended.
        """
        while True:
            answer = self.transport.send(
                "GET", f"/jobs/{self.job_id(job)}/logs", params={"offset": offset}
            )
            page = LogPage.model_validate_json(answer.content)
            if page.text:
                yield page.text
            if page.ended or (not follow and page.next_offset == offset):
                return
            if page.next_offset == offset:
                self.transport.sleep(FOLLOW_S)
            offset = page.next_offset

    def artifacts(self, job: str) -> List[ArtifactRecord]:
        """List the files that *job* wrote."""
        return self._records(f"/jobs/{self.job_id(job)}/artifacts", ArtifactRecord)

    def diagnostics(self, job: str) -> List[DiagnosticRecord]:
        """List the results of *job*'s diagnostics that are not a series."""
        return self._records(f"/jobs/{self.job_id(job)}/diagnostics", DiagnosticRecord)

    def download(self, job: str, name: str, target: Path) -> Path:
        """Write artifact *name* of *job* to *target*, whole or not at all."""
        part = target.with_name(target.name + ".part")
        with self.transport.stream(
            f"/jobs/{self.job_id(job)}/artifacts/{name}"
        ) as answer, part.open("wb") as f:
            for block in answer.iter_bytes():
                f.write(block)
        part.replace(target)
        return target

    def normalizers(self) -> List[NormalizerRecord]:
        """List the kinds of normalizer with their options, defaults, ranges and sources."""
        return self._records("/normalizers", NormalizerRecord)

    def models(self) -> List[ModelRecord]:
        """List the networks."""
        return self._records("/models", ModelRecord)

    def datasets(self) -> List[DatasetRecord]:
        """List the datasets, and what is missing of them."""
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
        Iterate over who did what, newest first; for admins.

        Args:
            limit: of records in all; None: every one that is kept.
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
