"""`normlab diff`, `best`, `tail` and `open`: compare jobs, find the best, watch one, open it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Tuple

import typer

from normlab.cli.completion import (
    JobArgument,
    JobsArgument,
    conditions,
    metric_names,
    pages,
    study_names,
)
from normlab.cli.connecting import connect
from normlab.cli.empty_lists import refuse_unknown, refuse_unknown_metric, why_none_is_best
from normlab.cli.output import (
    AsJson,
    console,
    examples,
    last,
    measured,
    normalizer,
    print_json,
    print_table,
    short_ids,
    state,
    table_of,
)
from normlab.cli.projects import OfProject
from normlab.cli.results import sparkline
from normlab.errors import InvalidSpec, NotFound
from normlab.stacks.addresses import resolve

if TYPE_CHECKING:
    from normlab.client import Client
    from normlab.records import JobRecord, SeriesRecord

_NOT_COMPARED = {"name", "priority", "code"}
_LEAST, _MOST = 8, 30  # points of a sparkline
_VALUE, _GAPS = 12, 4  # characters of a value with its gap, and around a name and a curve


commands = typer.Typer()


@commands.command(epilog=examples("normlab diff 5f0c9a41 77aa01b2", "normlab diff A B C --json"))
def diff(
    ctx: typer.Context,
    jobs: List[str] = JobsArgument,
    as_json: bool = AsJson,
) -> None:
    """Show the fields in which the specifications of jobs differ, and nothing else."""
    from normlab.specs.differences import differing

    if len(jobs) < 2:
        raise InvalidSpec(f"{len(jobs)} job: name at least two to compare")
    with connect(ctx) as client:
        found = [client.get(job) for job in jobs]
    specs = [job.spec.model_dump(mode="json", exclude=_NOT_COMPARED) for job in found]
    fields = differing(specs)
    ids = [job.id for job in found]
    if as_json:
        rows = [{"field": path, **dict(zip(ids, values))} for path, values in fields.items()]
        print_json({"jobs": ids, "fields": fields}, rows, ["field", *ids])
    elif not fields:
        print("the specifications are equal")
    else:
        print_table(["field", *short_ids(ids)], [[path, *of] for path, of in fields.items()])


@commands.command(
    epilog=examples(
        "normlab best",
        'normlab best --study "small batches" -n 3',
        "normlab best --metric val/loss --lowest --filter 'batch_size <= 4'",
    )
)
def best(
    ctx: typer.Context,
    metric: str = typer.Option(
        "val/accuracy",
        "--metric",
        "-m",
        help="The metric whose last value ranks the jobs.",
        autocompletion=metric_names,
    ),
    lowest: Optional[bool] = typer.Option(
        None,
        "--lowest/--highest",
        help="Which value is best; default: the lowest of losses, errors, perplexities and times.",
        show_default=False,
    ),
    study: Optional[str] = typer.Option(
        None, "--study", help="A study's id, its end, or its name.", autocompletion=study_names
    ),
    project: Optional[str] = OfProject,
    where: Optional[str] = typer.Option(
        None,
        "--filter",
        "-f",
        help="For example: batch_size <= 4 and seed = 0",
        autocompletion=conditions,
    ),
    limit: int = typer.Option(10, "--limit", "-n", min=1, help="Number of jobs to show."),
    as_json: bool = AsJson,
) -> None:
    """List the succeeded jobs with the best last value of a metric."""
    from normlab.presentation.intervals import smaller_is_better
    from normlab.records import JobRecord

    rising = smaller_is_better(metric) if lowest is None else lowest
    sort = metric if rising else f"-{metric}"
    with connect(ctx) as client:
        study_id = None if study is None else client.studies.study_id(study)
        filters: Dict[str, Any] = {"study": study_id, "project": project}
        if "/" not in metric:  # lists cannot be sorted by it
            refuse_unknown_metric(client, metric)
        listed = client.list(limit=limit, sort=sort, state="succeeded", filter=where, **filters)
        found = [job for job in listed if last(job, metric) is not None]
        if not found:
            refuse_unknown(client, project=project)
            refuse_unknown_metric(client, metric)
            print(why_none_is_best(client, metric, where, **filters), file=sys.stderr)
    if as_json:
        print_json(found, columns=JobRecord.model_fields)
    elif found:
        _print_best(found, metric)


@commands.command(
    epilog=examples("normlab tail 5f0c9a41", "normlab tail 5f0c9a41 -m train/loss -n 5")
)
def tail(
    ctx: typer.Context,
    job: str = JobArgument,
    metric: Optional[List[str]] = typer.Option(
        None,
        "--metric",
        "-m",
        help="A metric (repeatable); default: those of train/ and val/.",
        autocompletion=metric_names,
    ),
    points: int = typer.Option(
        3, "--points", "-n", min=1, max=20, help="Number of last values to show."
    ),
    follow: bool = typer.Option(
        False, "--follow", "-f", help="Refresh in place until the job has ended."
    ),
    as_json: bool = AsJson,
) -> None:
    """Show the last values of a job's metrics, and their curves as sparklines."""
    with connect(ctx) as client:
        id_ = client.job_id(job)
        if follow and not as_json:
            _follow(client, id_, metric, points)
            return
        found, series = _courses(client, id_, metric)
    if as_json:
        print_json(series, list(_points(series)), ["metric", "step", "value", "time"])
    else:
        console().print(_of_courses(found, series, points))


def _courses(
    client: Client, job: str, metric: Optional[List[str]]
) -> Tuple[JobRecord, Dict[str, SeriesRecord]]:
    found = client.get(job)
    names = metric or [name for name in found.last if name.startswith(("train/", "val/"))]
    return found, client.metrics(found.id, *names) if names else {}


def _points(series: Dict[str, SeriesRecord]) -> Iterator[Dict[str, Any]]:
    for name, one in series.items():
        for step, value, moment in zip(one.steps, one.numbers(), one.times):
            yield {"metric": name, "step": step, "value": value, "time": moment}


def _of_courses(job: JobRecord, series: Dict[str, SeriesRecord], points: int) -> Any:
    from rich.console import Group

    head = f"{job.id}  {job.state}, update {job.step} of {job.steps or '?'}"
    fixed = max(map(len, series), default=0) + points * _VALUE  # the curve gets the remaining width
    room = max(_LEAST, min(_MOST, console().width - fixed - _GAPS))
    sparks = {name: sparkline(_thinned(one, room)) for name, one in series.items()}
    course = ["curve"] if any(sparks.values()) else []  # curves of one point have no sparkline
    rows = [
        [name, *([sparks[name]] if course else []),
         *(measured(name, value) for value in _ends(one, points))]
        for name, one in series.items()
    ]  # fmt: skip
    columns = ["metric", *course, *[f"{i - points}" for i in range(points)]]
    return Group(head, *([table_of(columns, rows)] if rows else []))


def _follow(client: Client, job: str, metric: Optional[List[str]], points: int) -> None:
    """Show the curves until the job has ended: in place in a terminal, elsewhere at the end."""
    from rich.live import Live

    out = console()
    try:
        with Live(console=out, auto_refresh=False) as live:
            live.update(_of_courses(*_courses(client, job, metric), points), refresh=True)
            for _ in client.events(job):
                live.update(_of_courses(*_courses(client, job, metric), points), refresh=True)
            live.update(_of_courses(*_courses(client, job, metric), points), refresh=True)
    finally:
        if not out.is_terminal:  # its last line already has a line break
            out.line()


@commands.command("open", epilog=examples("normlab open", "normlab open 5f0c9a41 --print"))
def open_page(
    ctx: typer.Context,
    job: Optional[str] = typer.Argument(
        None, help="A job or a study, by id; default: all jobs.", autocompletion=pages
    ),
    only_print: bool = typer.Option(False, "--print", help="Only print the address."),
    as_json: bool = AsJson,
) -> None:
    """Open the page of a job, a study, or all jobs in the browser."""
    with connect(ctx) as client:
        path = "/jobs" if job is None else _path_of(client, job)
    url = resolve(ctx.find_root().obj).url.rstrip("/") + path
    if as_json:
        print_json({"url": url})
    else:
        print(url)
    if not only_print and not as_json:
        typer.launch(url)


def _print_best(jobs: List[JobRecord], metric: str) -> None:
    rows = [
        [short, job.name, state(job), normalizer(job), job.model, job.dataset, job.batch_size,
         job.seed, measured(metric, last(job, metric))]
        for short, job in zip(short_ids([job.id for job in jobs]), jobs)
    ]  # fmt: skip
    columns = ["job", "name", "state", "normalizer", "model", "dataset", "batch", "seed", metric]
    print_table(columns, rows, spare=["state", "dataset", "model", "name", "batch", "seed"])


def _thinned(series: SeriesRecord, most: int) -> List[float]:
    step = -(-len(series.values) // most) or 1  # rounded up
    return series.numbers()[::-step][::-1]


def _ends(series: SeriesRecord, points: int) -> List[Any]:
    found = series.numbers()[-points:]
    return [*[None] * (points - len(found)), *found]


def _path_of(client: Client, text: str) -> str:
    try:
        return f"/jobs/{client.get(text).id}"
    except NotFound:
        pass
    try:
        return f"/studies/{client.studies.summary(text).id}"
    except NotFound as e:
        raise NotFound(f"there is no job and no study {text!r}; normlab ls lists the jobs") from e
