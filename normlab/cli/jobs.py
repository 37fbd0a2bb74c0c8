"""`normlab ls`, `show`, `cancel` and `retry`: commands for existing jobs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, List, Optional, Tuple

import typer

from normlab.cli.completion import (
    JobArgument,
    JobsArgument,
    columns,
    conditions,
    kinds,
    one_of,
    states,
    study_names,
)
from normlab.cli.connecting import connect
from normlab.cli.empty_lists import refuse_unknown, why_none, why_unsorted
from normlab.cli.output import (
    AsJson,
    console,
    device_of,
    examples,
    last,
    measured,
    normalizer,
    print_each,
    print_json,
    print_table,
    short_ids,
    state,
)
from normlab.cli.projects import OfProject
from normlab.cli.trash_lists import KEPT_UNTIL, moment, studies_too
from normlab.presentation.headlines import in_accuracys_place
from normlab.specs.devices import KINDS, NAMES

if TYPE_CHECKING:
    from normlab.records import AttemptRecord, JobDetail, JobRecord

COLUMNS = ["job", "name", "state", "normalizer", "model", "dataset", "batch", "seed", "device"]

# columns that a list omits in a narrow terminal; `--json` shows all
SPARE = ["device", "dataset", "seed", "model", "epoch", "batch", "name", "age"]


commands = typer.Typer()


@commands.command(
    epilog=examples(
        "normlab ls",
        "normlab ls --state failed --limit 5",
        "normlab ls --normalizer group --sort -val/accuracy",
        "normlab ls --filter 'normalizer = online and val/accuracy > 0.9'",
        "normlab ls --trash",
        "normlab ls --json | jq '.[].id'",
    )
)
def ls(
    ctx: typer.Context,
    state_is: Optional[str] = typer.Option(
        None,
        "--state",
        "-S",
        help="queued, running, succeeded, failed or cancelled.",
        autocompletion=states,
    ),
    device: Optional[str] = typer.Option(None, help=f"{NAMES}.", autocompletion=one_of(*KINDS)),
    kind: Optional[str] = typer.Option(
        None, "--normalizer", help="A kind of normalizer.", autocompletion=kinds
    ),
    study: Optional[str] = typer.Option(
        None, help="A study's id, its end, or its name.", autocompletion=study_names
    ),
    project: Optional[str] = OfProject,
    where: Optional[str] = typer.Option(
        None,
        "--filter",
        "-f",
        help="For example: batch_size <= 4 and val/accuracy > 0.9",
        autocompletion=conditions,
    ),
    sort: Optional[str] = typer.Option(
        None,
        help="A column or metric to sort by; a - in front lists the largest first.",
        autocompletion=columns,
    ),
    limit: int = typer.Option(20, "--limit", "-n", min=1, help="Number of jobs to show."),
    trash: bool = typer.Option(False, "--trash", help="Show jobs in the trash instead."),
    archived: bool = typer.Option(False, "--archived", help="Show archived jobs instead."),
    ids: bool = typer.Option(False, "--ids", help="Print only ids, one per line."),
    as_json: bool = AsJson,
) -> None:
    """List jobs, newest first. Every command accepts the shown end of an id."""
    from normlab.records import JobRecord

    filters = {"state": state_is, "device": device, "normalizer": kind, "study": study}
    filters.update({"project": project, "filter": where})
    filters["archived"] = "only" if archived else None
    with connect(ctx) as client:
        jobs = list(client.list(limit=limit, sort=sort, trash=trash or None, **filters))
        if not jobs:
            refuse_unknown(client, device=device, normalizer=kind, project=project)
        if jobs:
            why = why_unsorted(client, sort, jobs)
        else:
            why = why_none(client, where, sort, trash=trash, archived=archived)
        deleted = client.trash.summary() if trash else None
    if as_json:
        print_json(jobs, columns=JobRecord.model_fields)
    elif ids:
        print("".join(f"{job.id}\n" for job in jobs), end="")
    elif jobs:
        rows = [[*_row(short, j), moment(deleted, j.created_at, j.trashed_at)]
                for short, j in zip(short_ids([j.id for j in jobs]), jobs)]  # fmt: skip
        when = KEPT_UNTIL if deleted else "age"
        print_table([*COLUMNS, "epoch", "val/accuracy", when], rows, spare=SPARE)
    for line in filter(None, (why, studies_too(deleted))):
        print(line, file=sys.stderr)


def _row(short: str, j: JobRecord) -> List[Any]:
    reached = in_accuracys_place(j) or last(j, "val/accuracy")
    what = [short, j.name, state(j), normalizer(j), j.model, j.dataset, j.batch_size, j.seed]
    return [*what, device_of(j), f"{j.epoch}/{j.epochs}", reached]


@commands.command(epilog=examples("normlab show 5f0c9a41", "normlab show 5f0c9a41 --json"))
def show(
    ctx: typer.Context,
    job: str = JobArgument,
    as_json: bool = AsJson,
) -> None:
    """Show one job: its progress, last metric values, attempts and specification."""
    with connect(ctx) as client:
        found = client.get(job)
    if as_json:
        print_json(found)
    else:
        _show(found)


def _show(job: JobDetail) -> None:
    from normlab.specs.written import in_short

    print_table(["what", "value"], [fact for fact in _facts(job) if fact[1] is not None])
    if job.last:
        print()
        values = [
            (name, v.step, *(measured(name, v.number(of)) for of in ("value", "min", "max")))
            for name, v in sorted(job.last.items())
        ]
        print_table(["metric", "step", "last", "min", "max"], values)
    if job.attempts:
        print()
        columns = ["attempt", "worker", "outcome", "from step", "threads", "message"]
        print_table(columns, [_attempt(one) for one in job.attempts])
    print()
    console().print_json(data=in_short(job.spec))


def _facts(job: JobDetail) -> List[Tuple[str, Any]]:
    from normlab.presentation.beginnings import beginnings

    made = job.attempts[-1].environment if job.attempts else {}
    return [
        ("job", job.id),
        ("name", job.name),
        ("project", None if job.project == "default" else job.project),
        ("state", state(job)),
        ("device", f"{device_of(job)}: {job.device_reason}"),
        ("worker", job.worker),
        ("waits for", job.waiting_for),
        ("update", f"{job.step} of {job.steps if job.steps is not None else '?'}"),
        ("epoch", f"{job.epoch} of {job.epochs}"),
        ("tags", ", ".join(job.tags) or None),
        ("note", job.note),
        ("archived", f"since {job.archived_at:%Y-%m-%d %H:%M %Z}" if job.archived_at else None),
        ("in the trash", f"since {job.trashed_at:%Y-%m-%d %H:%M %Z}" if job.trashed_at else None),
        ("attempt", f"{job.attempt} of {job.max_attempts}"),
        *beginnings(job),
        ("norm layers", made.get("conversion")),
        ("weights", made.get("weights")),
        ("sharding", made.get("sharding")),
        ("error", f"{job.error.failure_kind}: {job.error.message}" if job.error else None),
    ]


def _attempt(one: AttemptRecord) -> List[Any]:
    where = [one.number, one.where, one.outcome or "running", one.resumed_from_step]
    return [*where, one.environment.get("threads"), one.message]


@commands.command(
    epilog=examples("normlab cancel 5f0c9a41", "normlab cancel $(normlab ls --ids -S queued)")
)
def cancel(ctx: typer.Context, jobs: List[str] = JobsArgument, as_json: bool = AsJson) -> None:
    """Stop jobs. A running job first writes a checkpoint."""
    stopping = {"running": "stopping"}
    with connect(ctx) as client:
        print_each(
            map(client.cancel, jobs),
            as_json,
            lambda job: f"{job.id}  {stopping.get(job.state, job.state)}",
        )


@commands.command(epilog=examples("normlab retry 5f0c9a41"))
def retry(ctx: typer.Context, jobs: List[str] = JobsArgument, as_json: bool = AsJson) -> None:
    """Queue failed or cancelled jobs again. They continue from their checkpoints."""
    with connect(ctx) as client:
        print_each(
            map(client.retry, jobs),
            as_json,
            lambda job: f"{job.id}  {job.state}, attempt {job.attempt + 1} of {job.max_attempts}",
        )
