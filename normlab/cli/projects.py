"""`normlab project`: projects, their members, and how long they keep files."""

from __future__ import annotations

from typing import Optional

import typer

from normlab.cli import keeping
from normlab.cli.completion import one_of, project_names
from normlab.cli.connecting import connect
from normlab.cli.output import AsJson, ago, examples, print_rows, print_told

Project: Optional[str] = typer.Option(
    None,
    "--project",
    envvar="NORMLAB_PROJECT",
    help="A project; default: `default`, or the only one that you may submit to.",
    autocompletion=project_names,
)
OfProject: Optional[str] = typer.Option(
    None,
    "--project",
    envvar="NORMLAB_PROJECT",
    help="Only those of this project.",
    autocompletion=project_names,
)
Name = typer.Argument(
    ..., help="The name of a project.", show_default=False, autocompletion=project_names
)
Owner = typer.Argument(
    ..., help="An owner of tokens; '*' is everybody with a token.", show_default=False
)


commands = typer.Typer(
    name="project",
    no_args_is_help=True,
    help="Create and list projects, change their members and what they keep.",
)


@commands.command(epilog=examples('normlab project create vision --note "the vision group"'))
def create(
    ctx: typer.Context,
    name: str = typer.Argument(..., help="Small letters, digits, and . _ - between them."),
    note: str = typer.Option("", help="The purpose of the project."),
    as_json: bool = AsJson,
) -> None:
    """Create a project with you as its only member; for admins."""
    with connect(ctx) as client:
        made = client.projects.create(name, note)
    line = f"{made.name}  add members with: normlab project add {made.name} OWNER"
    print_told(made, as_json, line)


@commands.command("list", epilog=examples("normlab project list", "normlab project list --json"))
def list_projects(ctx: typer.Context, as_json: bool = AsJson) -> None:
    """List your projects; as an admin, all of them."""
    from normlab.records.projects import ProjectRecord

    with connect(ctx) as client:
        found = client.projects.list()
    rows = [
        [p.name, p.role, p.jobs, p.studies, len(p.members), ago(p.created_at), p.note]
        for p in found
    ]
    columns = ["project", "your role", "jobs", "studies", "members", "age", "note"]
    none = "you are not in any project; an admin can add you: normlab project add PROJECT OWNER"
    print_rows(found, as_json, columns, rows, kind=ProjectRecord, none=none)


@commands.command(epilog=examples("normlab project members vision"))
def members(ctx: typer.Context, name: str = Name, as_json: bool = AsJson) -> None:
    """List the members of a project, with their roles."""
    from normlab.records.projects import MemberRecord

    with connect(ctx) as client:
        found = client.projects.get(name).members
    rows = [(m.owner, m.role, ago(m.added_at)) for m in found]
    none = f"{name} has no members; add one: normlab project add {name} OWNER"
    print_rows(found, as_json, ["member", "role", "age"], rows, kind=MemberRecord, none=none)


@commands.command(
    epilog=examples(
        "normlab project add vision ada",
        "normlab project add vision grace --role admin",
        "normlab project add vision '*' --role read",
    )
)
def add(
    ctx: typer.Context,
    name: str = Name,
    owner: str = Owner,
    role: str = typer.Option(
        "submit",
        help="read, submit (also add, and change what they added) or admin (also change "
        "everything, and the members).",
        autocompletion=one_of("read", "submit", "admin"),
    ),
    as_json: bool = AsJson,
) -> None:
    """Add a member to a project, or give it another role."""
    with connect(ctx) as client:
        member = client.projects.add(name, owner, role)
    print_told(member, as_json, f"{member.owner}  {member.role} in {name}")


@commands.command(
    epilog=examples("normlab project remove vision ada", "normlab project remove default '*'")
)
def remove(
    ctx: typer.Context, name: str = Name, owner: str = Owner, as_json: bool = AsJson
) -> None:
    """Remove a member from a project; what they added stays there."""
    with connect(ctx) as client:
        client.projects.remove(name, owner)
    told = {"project": name, "removed": owner}
    print_told(told, as_json, f"{owner} is no longer a member of {name}")


commands.command(epilog=examples(*keeping.EXAMPLES))(keeping.keep)
