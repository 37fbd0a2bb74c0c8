"""`normlab doctor`: find the problems of a stack, and how to fix them."""

from __future__ import annotations

import typer

from normlab.cli.output import AsJson, examples

commands = typer.Typer()


@commands.command(
    epilog=examples("normlab doctor", "normlab doctor --json", "normlab --url U --token T doctor")
)
def doctor(ctx: typer.Context, as_json: bool = AsJson) -> int:
    """Check a stack part by part; exit 1 if something is wrong."""
    from normlab.cli.checkup import examine, report

    return report(examine(ctx.find_root().obj), as_json=as_json)
