"""`normlab load`: Python with the trained network of a job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Optional

import typer

from normlab.cli.completion import JobArgument
from normlab.cli.connecting import connect
from normlab.cli.output import AsJson, examples, print_json
from normlab.errors import InvalidSpec
from normlab.stacks.addresses import resolve

commands = typer.Typer()


@commands.command(
    epilog=examples(
        "normlab load 5f0c9a41",
        "echo 'print(data.evaluate(model))' | normlab load 5f0c9a41",
    )
)
def load(
    ctx: typer.Context,
    job: str = JobArgument,
    data_root: Optional[Path] = typer.Option(
        None,
        envvar="NORMLAB_DATA_ROOT",
        help="The folder of datasets that are files; default: that of the stack.",
    ),
    trust_code: bool = typer.Option(
        False, "--trust-code", help="Run the plugins that the job uses, here."
    ),
    as_json: bool = AsJson,
) -> int:
    """Open Python with a job's network as `model` and its test set as `data`.

    It evaluates the network first, and shows the results beside the stored ones. With --json it
    prints them, and does not open Python.
    """
    if find_spec("torch") is None:
        raise InvalidSpec("load needs torch here; pip install 'normlab[train]'")
    with connect(ctx) as client:
        found = client.job_id(job)
    address = resolve(ctx.find_root().obj)
    order = {
        "job": found,
        "url": address.url,
        "token": address.token,
        "certificate": address.certificate,
        "data_root": None if data_root is None else str(data_root),
        "trust_code": trust_code,
        "json": as_json,
    }
    done = _open_python(json.dumps(order).encode(), subprocess.PIPE if as_json else None)
    if as_json and done.returncode == 0:
        print_json(json.loads(done.stdout))
    return done.returncode


def _open_python(order: bytes, out: Optional[int]) -> subprocess.CompletedProcess[bytes]:
    """Open Python in a separate process, because this one never imports torch."""
    given, end = os.pipe()  # all users of the host can see arguments, and a token must stay secret
    with os.fdopen(end, "wb") as pipe:
        pipe.write(order)
    try:
        command = [sys.executable, "-m", "normlab.trained.session", str(given)]
        return subprocess.run(command, check=False, pass_fds=[given], stdout=out)
    finally:
        os.close(given)
