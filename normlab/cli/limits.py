"""`normlab limits`: the limits of owners and projects, and their use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List, Optional, Tuple

import typer

from normlab.cli.completion import project_names
from normlab.cli.connecting import connect
from normlab.cli.output import AsJson, examples, print_rows, size
from normlab.counting import read_size
from normlab.errors import FieldProblem, InvalidSpec

if TYPE_CHECKING:
    from normlab.records.limits import LimitRecord

_FIELDS = (
    "queued", "running", "devices", "device_hours_per_month", "storage_bytes", "priority",
    "requests_per_minute",
)  # fmt: skip
OfOwner: Optional[str] = typer.Option(None, "--owner", help="The owner; '*' is each owner.")
OfProject: Optional[str] = typer.Option(
    None,
    "--project",
    help="The project; '*' is each project.",
    autocompletion=project_names,
)


commands = typer.Typer(
    name="limits", no_args_is_help=True, help="Show and set the limits of owners and projects."
)


@commands.command(
    epilog=examples("normlab limits show", "normlab limits show --project vision --json")
)
def show(
    ctx: typer.Context,
    owner: Optional[str] = OfOwner,
    project: Optional[str] = OfProject,
    as_json: bool = AsJson,
) -> None:
    """Show your limits with their use, or those of an owner or a project."""
    with connect(ctx) as client:
        _print(client.limits.show(owner, project), as_json)


@commands.command(
    "set",
    epilog=examples(
        "normlab limits set --owner ada queued=500 running=4",
        "normlab limits set --project vision devices=8 device_hours_per_month=500",
        "normlab limits set --owner ada storage_bytes=200GB priority=10",
        "normlab limits set --owner '*' requests_per_minute=600",
        "normlab limits set --owner ada queued=none",
    ),
)
def set_limits(
    ctx: typer.Context,
    limits: List[str] = typer.Argument(
        ..., metavar="LIMIT=NUMBER...", help=f"{', '.join(_FIELDS)}; none."
    ),
    owner: Optional[str] = OfOwner,
    project: Optional[str] = OfProject,
    as_json: bool = AsJson,
) -> None:
    """Set limits of an owner or a project, or take them away with `none`; for admins."""
    subject, name = _subject(owner, project)
    with connect(ctx) as client:
        _print(client.limits.set(subject, name, _read(limits)), as_json)


def _subject(owner: Optional[str], project: Optional[str]) -> Tuple[str, str]:
    if (owner is None) == (project is None):
        raise InvalidSpec.of([FieldProblem("--owner", "give either --owner or --project")])
    return ("project", str(project)) if owner is None else ("owner", owner)


def _read(limits: List[str]) -> Dict[str, Optional[int]]:
    found: Dict[str, Optional[int]] = {}
    for text in limits:
        name, _, value = text.partition("=")
        if name not in _FIELDS:
            rule = f"there is no such limit; write LIMIT=NUMBER with one of {', '.join(_FIELDS)}"
            raise InvalidSpec.of([FieldProblem(name or "limit", rule)])
        found[name] = None if value == "none" else _number(name, value, text)
    return found


def _number(name: str, value: str, text: str) -> int:
    try:
        return read_size(value) if name == "storage_bytes" else int(value)
    except ValueError as e:
        rule = f"{text!r} is not a limit; write LIMIT=NUMBER or LIMIT=none, such as running=4"
        if name == "storage_bytes" and value:
            rule = str(e)
        raise InvalidSpec.of([FieldProblem(name or "limit", rule)]) from e


def _print(found: List[LimitRecord], as_json: bool) -> None:
    rows = [
        [f"{one.subject} {one.name}", one.what.replace("_", " "), _told(one, one.used),
         "none" if one.most is None else _told(one, one.most), _source(one)]
        for one in found
    ]  # fmt: skip
    print_rows(found, as_json, ["of", "what", "used", "most", "set for"], rows)


def _told(limit: LimitRecord, amount: Optional[float]) -> object:
    return size(int(amount)) if limit.what == "storage_bytes" and amount is not None else amount


def _source(limit: LimitRecord) -> str:
    if limit.most is None:
        return ""
    return f"each {limit.subject}" if limit.source == "*" else limit.source
