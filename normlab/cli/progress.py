"""Live progress of jobs: bars in a terminal, lines everywhere else."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Callable, ContextManager, Dict, Iterator, List, Sequence, Tuple

from normlab.cli.output import last, normalizer
from normlab.not_finite import written
from normlab.presentation.headlines import headline

if TYPE_CHECKING:
    from rich.progress import TaskID

    from normlab.client import Client
    from normlab.records import JobRecord

POLL_S = 0.5
_AT_ONCE = 40  # the number of jobs whose ids fit into one filter
_WIDE = 100  # terminal columns; a bar then has room for two metrics
Show = Callable[["JobRecord"], None]


def follow(client: Client, ids: Sequence[str], *, quiet: bool = False) -> List[JobRecord]:
    """
    Show the progress of jobs until all of them have ended, and return them in order.

    Args:
        client: of the API.
        ids: of the jobs.
        quiet: show nothing, only wait.
    """
    with _nothing() if quiet else _display() as show:
        if len(ids) == 1:
            return [client.wait(ids[0], progress=show)]
        return _poll(client, ids, show)


def _poll(client: Client, ids: Sequence[str], show: Show) -> List[JobRecord]:
    ended: Dict[str, JobRecord] = {}
    while True:
        for job in _look(client, [job for job in ids if job not in ended]):
            show(job)
            if job.finished_at is not None:
                ended[job.id] = client.get(job.id)  # with its attempts, which lists do not contain
        if all(job in ended for job in ids):
            return [ended[job] for job in ids]
        time.sleep(POLL_S)


def _look(client: Client, ids: Sequence[str]) -> Iterator[JobRecord]:
    """Read many jobs by one request, in order; raise NotFound if one does not exist."""
    for i in range(0, len(ids), _AT_ONCE):
        some = ids[i : i + _AT_ONCE]
        # it may have been archived in the meantime
        found = client.list(filter=f"id in ({', '.join(some)})", archived="show")
        by_id = {job.id: job for job in found}
        for job in some:
            yield by_id[job] if job in by_id else client.get(job)


def label(job: JobRecord) -> str:
    """Name a job for people."""
    return job.name or f"{normalizer(job)} b{job.batch_size} seed {job.seed}"


def describe(job: JobRecord, *, brief: bool = False) -> str:
    """Describe the progress of a job in a few words; if *brief*, only by its main metric."""
    if job.state == "queued":
        return job.waiting_for or "waiting"
    if job.state == "failed" and job.error:
        return f"{job.error.failure_kind}: {job.error.message}"
    loss = last(job, "train/loss")
    found = headline(job)
    values = [None if loss is None or (brief and found) else ("train/loss", loss), found]
    return "  ".join(f"{name} {written(value, '.3f')}" for name, value in filter(None, values))


def _nothing() -> ContextManager[Show]:
    return nullcontext(lambda job: None)


def _display() -> ContextManager[Show]:
    return _Bars() if sys.stderr.isatty() else nullcontext(_StateLines().show)


class _StateLines:
    """Print a line whenever a job's state or epoch has changed."""

    def __init__(self) -> None:
        self.seen: Dict[str, Tuple[str, int]] = {}

    def show(self, job: JobRecord) -> None:
        now = (job.state, job.epoch)
        if self.seen.get(job.id) == now:
            return
        self.seen[job.id] = now
        clock = time.strftime("%H:%M:%S")
        epochs = f"epoch {job.epoch}/{job.epochs}"
        text = f"{clock}  {label(job):32} {job.state:9} {epochs:12} {describe(job)}"
        print(text.rstrip(), file=sys.stderr, flush=True)


class _Bars:
    """Draw one bar per job, and redraw the bars in place."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        out = Console(stderr=True, highlight=False)
        self.narrow = out.width < _WIDE
        self.progress = Progress(
            TextColumn("{task.description}"),
            TextColumn("[dim]{task.fields[state]:9}"),
            BarColumn(bar_width=10 if self.narrow else 24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            TimeElapsedColumn(),
            console=out,
        )
        self.tasks: Dict[str, TaskID] = {}

    def __enter__(self) -> Show:
        self.progress.__enter__()
        return self.show

    def __exit__(self, *ended_how: object) -> None:
        self.progress.stop()

    def show(self, job: JobRecord) -> None:
        total = job.steps or None
        if job.id not in self.tasks:
            self.tasks[job.id] = self.progress.add_task(
                label(job), start=False, total=total, state=job.state, text=""
            )
        task = self.tasks[job.id]
        if job.state != "queued":
            self.progress.start_task(task)
        self.progress.update(
            task,
            completed=job.step,
            total=total,
            state=job.state,
            text=describe(job, brief=self.narrow),
        )
        if job.finished_at is not None:
            self.progress.stop_task(task)
