"""`normlab worker`: a worker in this terminal, or workers as jobs of SLURM."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Dict, List, Optional

import typer

from normlab.cli.output import AsJson, examples
from normlab.errors import InvalidSpec
from normlab.specs.devices import DEVICES, NAMES

commands = typer.Typer()


@commands.command(
    epilog=examples(
        "normlab worker --device cuda --slots 4     here, until Ctrl-C",
        "normlab worker --slurm --device cuda --count 8 --minutes 480 --sbatch partition=gpu",
        "normlab worker --slurm --renew 0           one allocation each, without a renewal",
    )
)
def worker(
    ctx: typer.Context,
    device: str = typer.Option("cpu", help=NAMES),
    slots: int = typer.Option(
        1, min=1, help="Number of jobs that each worker runs at the same time."
    ),
    slurm: bool = typer.Option(False, "--slurm", help="Submit workers to SLURM."),
    count: Optional[int] = typer.Option(
        None, min=1, help="Number of workers to submit; default: 1."
    ),
    minutes: Optional[int] = typer.Option(
        None, min=1, help="Time of each allocation; default: 240."
    ),
    drain: Optional[int] = typer.Option(
        None, min=1, help="Seconds before its end at which jobs go back to the queue; default: 120."
    ),
    renew: Optional[int] = typer.Option(
        None, min=0, help="Number of further allocations when the time of one is over; default: 10."
    ),
    sbatch: List[str] = typer.Option(
        [], help="An option of sbatch (repeatable), as in partition=gpu."
    ),
    folder: Optional[Path] = typer.Option(
        None,
        help="Folder of SLURM's logs, which all nodes share; default: slurm in the data folder.",
    ),
    executor: Optional[str] = typer.Option(None, hidden=True),
    as_json: bool = AsJson,
) -> None:
    """Run a worker for the database and broker that the environment names."""
    from normlab.stacks.own import require_server

    if device not in DEVICES:
        raise InvalidSpec(f"--device {device!r}: there are {NAMES}")
    require_server()
    asked: Dict[str, object] = {"count": count, "minutes": minutes, "drain": drain}
    asked.update(renew=renew, folder=folder, executor=executor)
    options = [f"--{name}={value}" for name, value in asked.items() if value is not None]
    options += [f"--sbatch={option}" for option in sbatch] + (["--json"] if as_json else [])
    if options and not slurm:
        raise InvalidSpec(f"{options[0].partition('=')[0]} can only be used together with --slurm")
    module = "workers.slurm" if slurm else "workers"
    given = ctx.find_root().obj.data_dir
    told = {} if given is None else {"NORMLAB_DATA_DIR": str(given)}
    command = [sys.executable, "-m", module, f"--device={device}", f"--slots={slots}", *options]
    sys.stdout.flush()
    # replaces this process, so that the terminal's signals reach the worker directly
    os.execve(sys.executable, command, {**os.environ, **told})
