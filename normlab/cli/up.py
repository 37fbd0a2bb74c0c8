"""`normlab up` and `normlab demo`: a whole stack on this machine."""

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
        "normlab up",
        "normlab up --slots 2 --port 9000",
        "normlab up --device cpu --device ipu",
        "normlab up --host 0.0.0.0 --tls-cert lab.pem --tls-key lab.key   (HTTPS)",
        "normlab up --with my_norms.py   (a file or folder with layers of your own)",
        "NORMLAB_DATABASE_URL=postgresql://... normlab up   (your own server)",
    )
)
def up(
    ctx: typer.Context,
    port: Optional[int] = typer.Option(
        None, min=0, max=65_535, help="The port; 0 is any free port."
    ),
    host: Optional[str] = typer.Option(None, help="The address to listen on."),
    data_dir: Optional[Path] = typer.Option(None, help="Folder for databases, jobs and logs."),
    slots: Optional[int] = typer.Option(
        None, min=1, help="Number of jobs that run at the same time."
    ),
    device: List[str] = typer.Option(
        [], help=f"{NAMES} (repeatable): one worker for each; default: cpu."
    ),
    root_path: Optional[str] = typer.Option(
        None, help="Path under which a proxy serves it, such as /normlab."
    ),
    tls_cert: Optional[Path] = typer.Option(
        None, exists=True, help="Certificate chain (PEM), for HTTPS."
    ),
    tls_key: Optional[Path] = typer.Option(
        None, exists=True, help="The private key of the certificate (PEM)."
    ),
    plugin: List[Path] = typer.Option(
        [],
        "--with",
        exists=True,
        help="A .py file or a folder (repeatable): what it declares can be used in every job.",
    ),
) -> None:
    """Start PostgreSQL, Redis, the API and a worker here; Ctrl-C stops them."""
    from normlab.stacks.own import command, require_server

    require_server()
    given: Dict[str, object] = {"PORT": port, "HOST": host, "SLOTS": slots}
    given["DATA_DIR"] = data_dir or ctx.find_root().obj.data_dir
    given.update(ROOT_PATH=root_path, TLS_CERT=tls_cert, TLS_KEY=tls_key)
    given["DEVICES"] = ",".join(device) or None
    given["PLUGINS"] = os.pathsep.join(str(path.absolute()) for path in plugin) or None
    told: Dict[str, str] = {f"NORMLAB_{k}": str(v) for k, v in given.items() if v is not None}
    sys.stdout.flush()
    # replaces this process by the launcher, so that the terminal's signals reach it directly
    os.execve(sys.executable, command(), {**os.environ, **told})


@commands.command(
    epilog=examples(
        "normlab demo",
        "normlab demo --epochs 4 --seeds 1",
        "normlab demo --device ipu   (emulated on this host)",
    )
)
def demo(
    epochs: int = typer.Option(12, min=1, help="Number of epochs of each job."),
    seeds: int = typer.Option(
        2, min=1, help="Number of seeds, which is the number of jobs with each normalizer."
    ),
    slots: Optional[int] = typer.Option(
        None,
        min=1,
        help="Number of jobs that run at the same time; default: one per core, or per GPU.",
    ),
    data_dir: Optional[Path] = typer.Option(
        None, help="Keep the stack's data in this folder; default: a temporary folder."
    ),
    device: str = typer.Option("cpu", help=f"{NAMES}; an ipu is emulated."),
    as_json: bool = AsJson,
) -> int:
    """Train the same network with four normalizers on a new stack, and compare them."""
    from normlab.cli.demo import run
    from normlab.host.limits import driver_gpus, usable_cores

    if device not in DEVICES:
        raise InvalidSpec(f"--device {device!r}: there are {NAMES}")
    at_once = (driver_gpus() or 1) if DEVICES[device].owns_units else usable_cores()
    return run(epochs, seeds, slots or at_once, data_dir, device, as_json=as_json)
