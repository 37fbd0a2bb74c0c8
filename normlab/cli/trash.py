"""`normlab rm`, `restore`, `gc` and `usage`: delete jobs, and see what takes space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, List, Optional

import typer

from normlab.cli import keeping
from normlab.cli.backups import restore_from
from normlab.cli.chosen import (
    DeletedJobs,
    DeletedStudies,
    Jobs,
    Studies,
    change_each,
    refuse_nothing,
)
from normlab.cli.connecting import connect
from normlab.cli.output import AsJson, ago, examples, print_each, print_json, print_rows, size
from normlab.counting import counted
from normlab.errors import InvalidSpec

if TYPE_CHECKING:
    from normlab.records.keeping import ExpiredRecord, TrashRecord

commands = typer.Typer()


@commands.command(
    epilog=examples(
        "normlab rm 5f0c9a41",
        "normlab rm $(normlab ls --state failed --ids)",
        'normlab rm --study "small batches"',
    )
)
def rm(
    ctx: typer.Context,
    jobs: Optional[List[str]] = Jobs,
    study: Optional[List[str]] = Studies,
    as_json: bool = AsJson,
) -> None:
    """Move ended jobs, or studies with their jobs, into the trash."""
    refuse_nothing(jobs, study)
    with connect(ctx) as client:
        days = client.trash.summary().days
        told = f"in the trash; purged after {counted(days, 'day')}, or by normlab gc"
        gone = change_each(jobs, study, client.trash.delete_job, client.trash.delete_study)
        print_each(gone, as_json, lambda one: f"{one.id}  {told}")


@commands.command(
    epilog=examples(
        "normlab ls --trash                      jobs, and until when they are kept",
        "normlab study ls --trash                studies",
        "normlab restore 5f0c9a41",
        "normlab restore --study 5f0c9a41",
        "normlab restore --from /backups/monday --into /var/lib/normlab   (a backup)",
    )
)
def restore(
    ctx: typer.Context,
    jobs: Optional[List[str]] = DeletedJobs,
    study: Optional[List[str]] = DeletedStudies,
    backup: Optional[Path] = typer.Option(
        None, "--from", help="Restore the stack of this backup on this host instead."
    ),
    into: Optional[Path] = typer.Option(
        None, help="With --from: the new stack's data folder; default: that of `normlab up`."
    ),
    as_json: bool = AsJson,
) -> None:
    """Take jobs, or studies with their jobs, out of the trash; or restore a backup."""
    if backup is not None:
        _refuse_both(jobs, study)
        restore_from(backup, into or ctx.find_root().obj.data_dir, as_json=as_json)
        return
    refuse_nothing(jobs, study, "--trash")
    with connect(ctx) as client:
        back = change_each(jobs, study, client.trash.restore_job, client.trash.restore_study)
        print_each(back, as_json, lambda one: f"{one.id}  {one.state}")


@commands.command(epilog=examples("normlab gc --dry-run", "normlab gc"))
def gc(
    ctx: typer.Context,
    dry_run: bool = typer.Option(False, "--dry-run", help="Only list what would be removed."),
    as_json: bool = AsJson,
) -> None:
    """
    Purge your trash, and the files that the projects of which you are an admin no longer keep.

    This cannot be undone.
    """
    with connect(ctx) as client:
        found = client.trash.summary()
        if not dry_run:
            client.trash.empty()
        expired: List[ExpiredRecord] = []
        try:
            expired.extend(keeping.collect(client, dry_run=dry_run))
        finally:  # also prints what was removed before an error
            _tell(found, expired, as_json, dry_run=dry_run)


def _tell(
    found: TrashRecord, expired: List[ExpiredRecord], as_json: bool, *, dry_run: bool
) -> None:
    if as_json:
        plain = [one.model_dump(mode="json") for one in expired]
        print_json({**found.model_dump(mode="json"), "expired": plain})
        return
    keeping.print_expired(expired, dry_run=dry_run)
    jobs, studies = counted(found.jobs, "job"), counted(found.studies, "study", "studies")
    what = f"{jobs} and {studies}, {size(found.bytes)}"
    oldest = f", the oldest {ago(found.oldest)} ago" if found.oldest else ""
    print(f"{'would purge' if dry_run else 'purging'} {what}{oldest}")


@commands.command(epilog=examples("normlab usage"))
def usage(ctx: typer.Context, as_json: bool = AsJson) -> None:
    """Show how much storage each owner's jobs use: files, curves and logs."""
    from normlab.records.keeping import OwnerUsage

    with connect(ctx) as client:
        found = client.trash.usage()
    rows = [(one.owner, one.jobs, size(one.bytes), size(one.trashed_bytes)) for one in found]
    columns = ["owner", "jobs", "storage", "of it in the trash"]
    none = "no job uses storage yet; queue one: normlab submit -s normalizer=batch"
    print_rows(found, as_json, columns, rows, kind=OwnerUsage, none=none)


def _refuse_both(jobs: Optional[List[str]], study: Optional[List[str]]) -> None:
    if jobs or study:
        raise InvalidSpec("--from restores a whole stack; name a backup, or jobs and studies")
