"""`normlab backup`, and what `normlab restore --from` does: the data of a stack on this host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Optional

import typer

from normlab.cli.output import AsJson, examples, print_json, size
from normlab.counting import counted
from normlab.errors import ServiceUnavailable
from normlab.stacks.addresses import data_dir_of

_MOST_NAMED = 5


commands = typer.Typer()


@commands.command(
    epilog=examples(
        "normlab backup /backups/monday",
        "normlab backup /backups/monday.tar   (one file)",
        "normlab backup --check /backups/monday",
        "normlab restore --from /backups/monday --into /var/lib/normlab",
    )
)
def backup(
    ctx: typer.Context,
    path: Path = typer.Argument(help="A new folder, or a new file that ends in .tar."),
    check: bool = typer.Option(
        False, "--check", help="Read an existing backup, and compare its checksums."
    ),
    as_json: bool = AsJson,
) -> None:
    """Back up the stack of this host, running or stopped: its database and its jobs' files."""
    told = run("check" if check else "write", path, data_dir_of(ctx.find_root().obj))
    if as_json:
        print_json(told)
        return
    print(f"{path}: {_contents(told)}")
    if check:
        print("everything in it is intact")
    else:
        print("not in it: datasets below the data root, the settings, and the messages in Redis")
    _print_losses(told)


def restore_from(source: Path, data_dir: Optional[Path], *, as_json: bool) -> None:
    """Restore the backup *source* into *data_dir*, which has no data yet; None: the default."""
    from normlab.stacks.running import default_data_dir

    data_dir = data_dir or default_data_dir()
    told = run("restore", source, data_dir)
    if as_json:
        print_json(told)
        return
    print(f"{data_dir}: {_contents(told)}")
    print(f"start it with: normlab up --data-dir {data_dir}")
    _print_losses(told)


def run(verb: str, path: Path, data_dir: Path) -> Dict[str, Any]:
    """Let a process of the service do *verb* with the backup at *path*; return what it prints."""
    from normlab.client.problems import from_problem
    from normlab.stacks.own import require_server

    require_server()
    environment = {**os.environ, "NORMLAB_DATA_DIR": str(data_dir)}
    # a separate process, because the client never imports the service
    command = [sys.executable, "-m", "service.backup", verb, str(path)]
    last: Dict[str, Any] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last = json.loads(line)
            if "done" in last:
                _show(last["done"], last["all"])
    if process.returncode not in (0, 1) or not last or "done" in last:
        raise ServiceUnavailable(f"service.backup ended with {process.returncode}; see its message")
    if process.returncode:
        raise from_problem(500, last, "")
    return last


def _show(done: int, whole: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if done == whole else ""
        print(f"\r{size(done)} of {size(whole)}", end=end, file=sys.stderr, flush=True)


def _contents(told: Dict[str, Any]) -> str:
    jobs = ", ".join(f"{count} {state}" for state, count in told["jobs"].items()) or "none"
    return (
        f"{counted(told['files'], 'file')}, {size(told['bytes'])}; jobs: {jobs}; "
        f"normlab {told['version']}, schema {told['revision']}"
    )


def _print_losses(told: Dict[str, Any]) -> None:
    wrong = [f"{lost['reason']} (job {lost['job']})" for lost in told["lost"]]
    wrong += [f"{name} is not what its job wrote" for name in told["damaged"]]
    for line in wrong[:_MOST_NAMED]:
        print(f"warning: {line}", file=sys.stderr)
    if len(wrong) > _MOST_NAMED:
        print(f"warning: and {len(wrong) - _MOST_NAMED} more files", file=sys.stderr)
