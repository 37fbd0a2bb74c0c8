"""`normlab project keep`, and its part of `normlab gc`: how long ended jobs keep their files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional

import typer

from normlab.cli.completion import project_names
from normlab.cli.connecting import connect
from normlab.cli.output import AsJson, print_rows, print_table, size
from normlab.counting import counted
from normlab.errors import FieldProblem, InvalidSpec

if TYPE_CHECKING:
    from normlab.client import Client
    from normlab.records.keeping import ExpiredRecord, KeepRules

_DAYS = ("checkpoints_days", "weights_days", "logs_days")
_WORDS = ("checkpoints_then", "best_by", "goal")
EXAMPLES = (
    "normlab project keep vision",
    "normlab project keep vision checkpoints_days=14 weights_days=365 logs_days=90",
    "normlab project keep vision checkpoints_then=last best_by=val/loss goal=minimize",
    "normlab project keep vision logs_days=none",
)


def keep(
    ctx: typer.Context,
    name: str = typer.Argument(
        ..., help="The name of a project.", show_default=False, autocompletion=project_names
    ),
    rules: Optional[List[str]] = typer.Argument(
        None, metavar="[RULE=VALUE]...", help=f"{', '.join(_DAYS + _WORDS)}; days may be none."
    ),
    as_json: bool = AsJson,
) -> None:
    """Show or change for how long the ended jobs of a project keep their files and logs."""
    changes = _read(rules or [])
    with connect(ctx) as client:
        kept = client.keeping.set(name, **changes) if changes else client.keeping.rules(name)
    print_rows(kept, as_json, ["of ended jobs", "kept for"], _rows(kept))


def collect(client: Client, *, dry_run: bool) -> Iterator[ExpiredRecord]:
    """Remove what the caller's projects no longer keep, as their admin; yield what it is."""
    for project in client.projects.list():
        rules = client.keeping.rules(project.name)
        if project.role != "admin" or all(getattr(rules, days) is None for days in _DAYS):
            continue
        of = client.keeping.expired if dry_run else client.keeping.remove_expired
        yield from of(project.name)


def print_expired(found: List[ExpiredRecord], *, dry_run: bool) -> None:
    """Print what was found by job and kind, and the sum."""
    if not found:
        return
    print_table(
        ["job", "kind", "files", "storage"],
        [(one.job, one.kind, ", ".join(one.files) or "in the database", size(one.bytes))
         for one in found],
    )  # fmt: skip
    jobs = counted(len({one.job for one in found}), "job")
    what = f"{size(sum(one.bytes for one in found))} of {jobs} that their projects no longer keep"
    print(f"would remove {what}" if dry_run else f"removed {what}; deleted within minutes")


def _read(rules: List[str]) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    for text in rules:
        name, _, value = text.partition("=")
        if name not in _DAYS + _WORDS:
            rule = f"there is no such rule; the rules are {', '.join(_DAYS + _WORDS)}"
            raise InvalidSpec.of([FieldProblem(name or "rule", rule)])
        if not value:
            raise InvalidSpec.of([FieldProblem(name, f"write a value, such as {name}=90")])
        found[name] = _days(name, value) if name in _DAYS else value
    return found


def _days(name: str, value: str) -> Optional[int]:
    try:
        return None if value == "none" else int(value)
    except ValueError as e:
        rule = f"{value!r} is not a number of days; write one, such as {name}=90, or none"
        raise InvalidSpec.of([FieldProblem(name, rule)]) from e


def _rows(kept: KeepRules) -> List[List[str]]:
    best = f"the one with the {'most' if kept.goal == 'maximize' else 'least'} {kept.best_by}"
    longer = {
        "last_and_best": f", then the last one and {best}",
        "last": ", then the last one",
        "none": "",
    }[kept.checkpoints_then]
    after = longer if kept.checkpoints_days is not None else ""
    return [
        ["checkpoints", _told(kept.checkpoints_days) + after],
        ["final weights", _told(kept.weights_days)],
        ["log", _told(kept.logs_days)],
    ]


def _told(days: Optional[int]) -> str:
    return "ever" if days is None else counted(days, "day")
