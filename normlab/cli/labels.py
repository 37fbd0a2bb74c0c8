"""`normlab rename`, `note`, `tag` and `archive`: labels of jobs and studies."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, List, Optional

import typer

from normlab.cli.chosen import Jobs, Studies, change_each, refuse_nothing
from normlab.cli.connecting import connect
from normlab.cli.output import AsJson, examples, print_each
from normlab.errors import InvalidSpec

if TYPE_CHECKING:
    from normlab.cli.chosen import Changed


commands = typer.Typer()


@commands.command(
    epilog=examples(
        'normlab rename "group norm, warm" 5f0c9a41',
        'normlab rename "small batches, final" --study "small batches"',
    )
)
def rename(
    ctx: typer.Context,
    name: str = typer.Argument(..., help="The new name; '' removes the name of a job."),
    jobs: Optional[List[str]] = Jobs,
    study: Optional[List[str]] = Studies,
    as_json: bool = AsJson,
) -> None:
    """Rename jobs or studies; their specifications stay as they are."""
    _change(ctx, jobs, study, as_json, name=name or None)


@commands.command(
    epilog=examples('normlab note "diverged: lr too high" 5f0c9a41', 'normlab note "" 5f0c9a41')
)
def note(
    ctx: typer.Context,
    text: str = typer.Argument(
        ..., help="The note, which replaces any earlier one; '' removes it."
    ),
    jobs: Optional[List[str]] = Jobs,
    study: Optional[List[str]] = Studies,
    as_json: bool = AsJson,
) -> None:
    """Attach a note to jobs or studies."""
    _change(ctx, jobs, study, as_json, note=text or None)


@commands.command(
    epilog=examples(
        "normlab tag 5f0c9a41 77aa01b2 --add paper --add figure-3",
        "normlab tag --study small --remove draft",
        "normlab ls --filter 'tag = paper'",
    )
)
def tag(
    ctx: typer.Context,
    jobs: Optional[List[str]] = Jobs,
    study: Optional[List[str]] = Studies,
    add: List[str] = typer.Option([], "--add", "-a", help="A tag to add (repeatable)."),
    remove: List[str] = typer.Option([], "--remove", "-r", help="A tag to remove (repeatable)."),
    as_json: bool = AsJson,
) -> None:
    """Tag jobs or studies, or remove tags; filters find a study's jobs by its tags too."""
    if not add and not remove:
        raise InvalidSpec("name tags with --add or --remove")
    _change(ctx, jobs, study, as_json, add_tags=add, remove_tags=remove)


@commands.command(
    epilog=examples(
        "normlab archive $(normlab ls --state failed --ids)",
        "normlab archive --undo --study small",
        "normlab ls --archived",
    )
)
def archive(
    ctx: typer.Context,
    jobs: Optional[List[str]] = Jobs,
    study: Optional[List[str]] = Studies,
    undo: bool = typer.Option(False, "--undo", help="Take them out of the archive."),
    as_json: bool = AsJson,
) -> None:
    """Hide jobs, or studies with their jobs, in lists and tables; nothing is deleted."""
    _change(ctx, jobs, study, as_json, archived=not undo)


def _change(
    ctx: typer.Context,
    jobs: Optional[List[str]],
    studies: Optional[List[str]],
    as_json: bool,
    **labels: Any,
) -> None:
    refuse_nothing(jobs, studies)
    with connect(ctx) as client:
        of_job = partial(client.labels.change_job, **labels)
        of_study = partial(client.labels.change_study, **labels)
        print_each(change_each(jobs, studies, of_job, of_study), as_json, _told)


def _told(one: Changed) -> str:
    parts = [one.id, one.name or "no name", ", ".join(one.tags), one.note or ""]
    return "  ".join([*filter(None, parts), *(["archived"] if one.archived_at else [])])
