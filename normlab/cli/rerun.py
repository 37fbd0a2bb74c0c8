"""`normlab rerun`: whether a job has the same results again, here or on another machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

import typer

from normlab.cli.completion import JobArgument, project_names
from normlab.cli.connecting import connect
from normlab.cli.output import AsJson, examples, print_json

if TYPE_CHECKING:
    from normlab.client.reruns import RerunComparison
    from normlab.records import JobDetail


commands = typer.Typer()


@commands.command(
    epilog=examples(
        "normlab rerun 5f0c9a41",
        "normlab rerun 5f0c9a41 --to http://other:8642 --to-token ...",
    )
)
def rerun(
    ctx: typer.Context,
    job: str = JobArgument,
    to: Optional[str] = typer.Option(None, metavar="URL", help="Another stack; default: the same."),
    to_token: Optional[str] = typer.Option(None, "--to-token", help="The token for --to."),
    project: Optional[str] = typer.Option(
        None,
        help="The project of the new job; default on the same stack: that of the old one.",
        autocompletion=project_names,
    ),
    as_json: bool = AsJson,
) -> int:
    """Run a job again with its code and its number of threads, and compare the results bit for bit.

    Exits 1 if they differ; then it says which packages, which host or which device
    differ.
    """
    from normlab.cli.progress import follow
    from normlab.client import Client
    from normlab.client.reruns import compare, start_again

    with connect(ctx) as source:
        before = source.get(job)
        target = source if to is None else Client(to, to_token)
        try:
            created = start_again(before, source, target, project)
            follow(target, [created.id], quiet=as_json)
            now = target.get(created.id)
            found = compare(before, now, source, target)
        finally:
            if target is not source:
                target.close()
    if as_json:
        print_json(vars(found))
    else:
        say(found, before.id, now)
    return 0 if found.same else 1


def say(found: RerunComparison, before: str, now: JobDetail) -> None:
    """Print whether *now* has reproduced the job *before*, and what differs."""
    if now.state != "succeeded":
        why = f": {now.error.message}" if now.error else ""
        print(f"{now.id}, the rerun of {before}, did not succeed: it is {now.state}{why}")
        return
    if found.same:
        print(f"{now.id} reproduces {before}: weights and metrics are the same, bit for bit")
    else:
        print(f"{now.id} does not reproduce {before}")
    for name, *values in found.metrics:
        a, b = ("not reported" if value is None else value for value in values)
        print(f"  {name}: {a} then, {b} now")
    if not found.same and not found.differences:
        print("    the recorded code, packages, host and device are the same")
    for difference in found.differences:
        print(f"  {difference}")
