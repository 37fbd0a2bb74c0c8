"""`normlab watch` and `normlab logs`: follow running jobs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, List, Sequence

import typer

from normlab.cli.completion import JobArgument, JobsArgument
from normlab.cli.connecting import connect
from normlab.cli.output import AsJson, examples, print_each, print_json, print_json_line
from normlab.counting import counted
from normlab.not_finite import written
from normlab.presentation.headlines import headline

if TYPE_CHECKING:
    from normlab.client import Client
    from normlab.records import JobDetail, JobRecord

AsJsonLines = typer.Option(
    False, "--json", help="Print JSON for programs; for one job, print its events."
)


commands = typer.Typer()


@commands.command(
    epilog=examples(
        "normlab watch 5f0c9a41",
        "normlab watch $(normlab ls --state running --ids)",
        "normlab watch 5f0c9a41 --json   (one event per line)",
    )
)
def watch(ctx: typer.Context, jobs: List[str] = JobsArgument, as_json: bool = AsJsonLines) -> int:
    """Show jobs until they have ended; exit 1 if one did not succeed."""
    with connect(ctx) as client:
        if as_json and len(jobs) == 1:
            for event in client.events(jobs[0]):
                print_json_line(event)
            return 0 if client.get(jobs[0]).state == "succeeded" else 1
        return watch_until_ended(client, [client.job_id(job) for job in jobs], as_json=as_json)


def watch_until_ended(client: Client, ids: Sequence[str], *, as_json: bool) -> int:
    """Follow jobs to their end, print how each ended, and return the exit code."""
    from normlab.cli.progress import follow

    try:
        ended = follow(client, ids, quiet=as_json)
    except KeyboardInterrupt:
        some = " ".join(ids)
        print(
            f"no longer watching; the jobs continue. To stop them: normlab cancel {some}",
            file=sys.stderr,
        )
        raise
    if as_json and len(ended) == 1:
        print_json(ended[0])
    else:
        print_each(ended, as_json, _ending)
    return 0 if all(job.state == "succeeded" for job in ended) else 1


def _ending(job: JobRecord) -> str:
    text = f"{job.id}  {job.state} after {counted(job.step, 'update')}"
    shown = headline(job)
    if shown is not None:
        text += f", {shown[0]} {written(shown[1], '.4f')}"
    if job.error:
        text += f": {job.error.failure_kind}: {job.error.message}"
    return text


@commands.command(
    epilog=examples("normlab logs 5f0c9a41", "normlab logs 5f0c9a41 --follow | grep -i warn")
)
def logs(
    ctx: typer.Context,
    job: str = JobArgument,
    follow: bool = typer.Option(False, "--follow", "-f", help="Continue until the job has ended."),
    as_json: bool = AsJson,
) -> None:
    """Print what a job wrote to its log."""
    with connect(ctx) as client:
        pieces = client.logs(job, follow=follow)
        if as_json:
            print_json({"job": job, "log": "".join(pieces)})
            return
        silent = True
        for piece in pieces:
            sys.stdout.write(piece)
            sys.stdout.flush()
            silent = silent and not piece
        if silent:
            print("\n".join(_of_silence(client.get(job))), file=sys.stderr)


def _of_silence(job: JobDetail) -> List[str]:
    """Say why the log of *job* is empty, and what happened according to the records."""
    if job.state == "queued":
        return [
            f"nothing is printed before the job runs; it waits for {job.waiting_for or 'a slot'}"
        ]
    if job.state == "running":
        return [
            f"the training has printed nothing so far; to see its metrics: normlab tail {job.id}"
        ]
    told = ["the training printed nothing; this is what happened:"]
    for one in job.attempts:
        when = one.ended_at or one.started_at
        why = f": {one.message}" if one.message else ""
        told.append(
            f"{when:%Y-%m-%d %H:%M:%S %Z}  attempt {one.number} on {one.where}: {one.outcome}{why}"
        )
    return [*told, _ending(job)]
