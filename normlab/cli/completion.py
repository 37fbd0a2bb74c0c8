"""Tab completion: jobs and kinds of normalizer, or nothing if the API does not answer."""

from __future__ import annotations

from typing import List, Tuple

import typer

from normlab.errors import NormlabError

# The Tab key must not hang: no list is better than a slow one.
PATIENCE_S = 0.7


def job_ids(ctx: typer.Context, incomplete: str) -> List[Tuple[str, str]]:
    """Complete the newest jobs, each with its state and normalizer."""
    from normlab.cli.connecting import Address, resolve
    from normlab.client import Client

    params = ctx.find_root().params
    address = Address(params.get("url"), params.get("token"), params.get("data_dir"))
    try:
        found = resolve(address)
        with Client(found.url, found.token, tries=1, timeout_s=PATIENCE_S) as client:
            jobs = client.page(limit=50).jobs
    except (NormlabError, ValueError):
        return []
    return [(j.id, f"{j.state} {j.normalizer}") for j in jobs if j.id.startswith(incomplete)]


def kinds(incomplete: str) -> List[str]:
    """Complete the kinds of normalizer."""
    from normlab.specs.normalizers import BY_KIND

    return [kind for kind in BY_KIND if kind.startswith(incomplete)]


JobArgument = typer.Argument(
    ...,
    help="A job's id, or its end as `ls` shows it.",
    autocompletion=job_ids,
    metavar="JOB",
    show_default=False,
)
JobsArgument = typer.Argument(
    ...,
    help="Ids of jobs, or their ends as `ls` shows them.",
    autocompletion=job_ids,
    metavar="JOB...",
    show_default=False,
)
