"""Read jobs over HTTP: records, curves, events, logs and files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Sequence

from normlab.client import references, streams
from normlab.client.transport import Transport
from normlab.errors import ServiceUnavailable
from normlab.records import (
    ENDED,
    ArtifactRecord,
    DiagnosticRecord,
    EventRecord,
    JobDetail,
    LogPage,
    SeriesRecord,
)
from normlab.records.jobs import OutlookRecord

# between two requests for a log that is followed
FOLLOW_S = 0.5
SERIES_AT_ONCE = 100  # the most jobs that the server accepts in one request


class JobReader:
    """The part of a Client that changes nothing, and is about single jobs."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.job_id = references.jobs(transport).full

    def get(self, job: str) -> JobDetail:
        """Return a job with its specification and attempts."""
        return self.transport.record(JobDetail, "GET", f"/jobs/{self.job_id(job)}")

    def outlook(self, job: str) -> OutlookRecord:
        """Return the time left for *job*, its place in the queue, and what would change it."""
        return self.transport.record(OutlookRecord, "GET", f"/jobs/{self.job_id(job)}/outlook")

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
            found += self.transport.records(SeriesRecord, "/series", params=params)
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
        return self.transport.records(ArtifactRecord, f"/jobs/{self.job_id(job)}/artifacts")

    def diagnostics(self, job: str) -> List[DiagnosticRecord]:
        """List the results of *job*'s diagnostics that are not a series."""
        return self.transport.records(DiagnosticRecord, f"/jobs/{self.job_id(job)}/diagnostics")

    def download(self, job: str, name: str, target: Path) -> Path:
        """Download the file *name* of *job* to *target*, atomically."""
        return self.transport.save(f"/jobs/{self.job_id(job)}/artifacts/{name}", target)

    def save_weights(self, job: str, target: Path) -> Path:
        """Download the final weights of *job* to the safetensors file *target*, atomically."""
        return self.transport.save(f"/jobs/{self.job_id(job)}/weights", target)
