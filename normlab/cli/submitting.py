"""`normlab submit` and `normlab validate`: a job from a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Optional

import typer

from normlab.cli.completion import fields
from normlab.cli.connecting import connect
from normlab.cli.output import AsJson, examples, print_json, print_table, size
from normlab.cli.plugins import Code, with_code
from normlab.cli.projects import Project

if TYPE_CHECKING:
    from normlab.client import Client
    from normlab.records import JobCreated

File = typer.Argument(None, help="JSON or YAML; - reads standard input.", show_default=False)
Set = typer.Option(
    [],
    "--set",
    "-s",
    metavar="FIELD=VALUE",
    help="Set a field, for example optimizer.lr=0.05.",
    autocompletion=fields,
)
Wait = typer.Option(False, "--wait", "-w", help="Show progress until the job has ended.")


commands = typer.Typer()


@commands.command(
    epilog=examples(
        "normlab submit job.yaml",
        "normlab submit job.yaml --set batch_size=2 --set optimizer.lr=0.05 --wait",
        "normlab submit -s normalizer=online -s dataset.name=digits -s epochs=2",
        "normlab submit --code my_norms.py -s normalizer.kind=my_norm",
        'echo \'{"normalizer": "batch"}\' | normlab submit -',
    )
)
def submit(
    ctx: typer.Context,
    file: Optional[str] = File,
    overrides: List[str] = Set,
    key: Optional[str] = typer.Option(
        None, "--key", help="Idempotency key: two submissions with the same key are one job."
    ),
    project: Optional[str] = Project,
    code: List[str] = Code,
    wait: bool = Wait,
    as_json: bool = AsJson,
) -> int:
    """Queue a training job; with --wait, exit 1 if it fails."""
    from normlab.cli.specfile import read_spec, with_whole_ids

    spec = read_spec(file, overrides)
    with connect(ctx) as client:
        spec = with_code(client, with_whole_ids(client, spec), code, file, project)
        created = client.submit(spec, idempotency_key=key, project=project)
        return tell(client, created, wait, as_json)


def tell(client: Client, created: JobCreated, wait: bool, as_json: bool) -> int:
    """Print which job was queued; with *wait*, follow it to its end and return 1 if it fails."""
    if wait:
        from normlab.cli.watching import watch_until_ended

        return watch_until_ended(client, [created.id], as_json=as_json)
    if as_json:
        print_json(created)
    else:
        print(f"{created.id}  {created.state} for {created.device}: {created.device_reason}")
    return 0


@commands.command(
    epilog=examples(
        "normlab validate job.yaml",
        "normlab validate job.yaml --device ipu",
        "normlab validate -s normalizer.kind=group -s normalizer.groups=3 --json",
    )
)
def validate(
    ctx: typer.Context,
    file: Optional[str] = File,
    overrides: List[str] = Set,
    device: Optional[str] = typer.Option(None, "--device", help="Same as --set device=..."),
    code: List[str] = Code,
    as_json: bool = AsJson,
) -> int:
    """Show what would run, where, and how large it is; queue nothing."""
    from normlab.cli.specfile import read_spec, with_whole_ids

    spec = read_spec(file, [*overrides, *([f"device={device}"] if device else [])])
    with connect(ctx) as client:
        found = client.validate(with_code(client, with_whole_ids(client, spec), code, file))
    if as_json:
        print_json(found)
        return 0
    facts = [
        ("device", f"{found.device}: {found.device_reason}"),
        ("samples per update", found.samples_per_update),
        ("updates", found.steps),
        ("parameters", found.parameters),
        *([("norm layers", found.conversion)] if found.conversion else []),
        ("memory (estimate)", size(found.memory_bytes)),
        ("running time", found.estimate),
        ("queue position", found.queue_position),
        ("fingerprint", found.fingerprint[:16]),
    ]
    print_table(["what", "value"], facts)
    verdicts = [(v.device, "yes" if v.accepted else "no", v.reason) for v in found.verdicts]
    if verdicts:
        print()
        print_table(["device", "takes it", "why"], verdicts)
    return 0
