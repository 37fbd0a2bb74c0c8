"""`normlab continue`: train an ended job for longer."""

from __future__ import annotations

from typing import Optional

import typer

from normlab.cli.completion import JobArgument, project_names
from normlab.cli.connecting import connect
from normlab.cli.output import AsJson, examples
from normlab.cli.submitting import Wait, tell

commands = typer.Typer()


@commands.command(
    "continue",
    epilog=examples(
        "normlab continue 5f0c9a41 --epochs 50",
        "normlab continue 5f0c9a41 --epochs 50 --anyway --wait",
    ),
)
def go_on(
    ctx: typer.Context,
    job: str = JobArgument,
    epochs: Optional[int] = typer.Option(
        None, help="Total number of epochs, including those of the earlier job."
    ),
    max_steps: Optional[int] = typer.Option(
        None, help="Total number of updates, including those of the earlier job."
    ),
    anyway: bool = typer.Option(
        False, help="Continue even if the longer schedule had other learning rates so far."
    ),
    project: Optional[str] = typer.Option(
        None,
        help="The project of the new job; default: that of the earlier job.",
        autocompletion=project_names,
    ),
    wait: bool = Wait,
    as_json: bool = AsJson,
) -> int:
    """Queue a longer job that continues from the last checkpoint of an ended one.

    It ends with the same bits as one longer job. Where that is impossible, for example after a
    cosine schedule, it is refused with the reason.
    """
    with connect(ctx) as client:
        created = client.go_on(
            job, epochs=epochs, max_steps=max_steps, anyway=anyway, project=project
        )
        return tell(client, created, wait, as_json)
