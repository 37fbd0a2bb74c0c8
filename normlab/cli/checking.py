"""`normlab check` and `normlab doctor`: test your own layers by normlab's laws, and a stack."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import typer

from normlab.cli.output import AsJson, examples, print_json, print_table
from normlab.errors import InvalidSpec
from normlab.stacks.own import require_server

_SHOWN = {"ok": "ok", "broken": "BROKEN", "refused": "refused", "told": ""}


commands = typer.Typer()


@commands.command(
    "check", epilog=examples("normlab check my_norms.py", "normlab check my_norms.py --json")
)
def check(
    path: Path = typer.Argument(..., exists=True, help="A .py file or a folder of a plugin."),
    as_json: bool = AsJson,
) -> int:
    """Check what you declare: normalizers in every mode of PyTorch, on an IPU, and their cost.

    Each is compared with itself in float64, eagerly. Optimizers, schedules and augmentations have
    laws of their own: the results are the same when they are repeated or continued. "refused" means
    that the mode raises an error that says so.
    Nothing is uploaded, and no stack is needed. Exits 1 if a law is broken.
    """
    found: List[Dict[str, Any]] = []
    for finding in _findings(path):
        found.append(finding)
        if not as_json and sys.stderr.isatty():
            said = f"{finding['kind']}: {finding['law']}: {finding['verdict']}"
            print(f"\r\033[K{said}", end="", file=sys.stderr, flush=True)
    if not as_json and sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    if as_json:
        print_json(found)
    else:
        _show(found)
    return 1 if any(finding["verdict"] == "broken" for finding in found) else 0


@commands.command(
    epilog=examples("normlab doctor", "normlab doctor --json", "normlab --url U --token T doctor")
)
def doctor(ctx: typer.Context, as_json: bool = AsJson) -> int:
    """Check a stack part by part; exit 1 if something is wrong."""
    from normlab.cli.checkup import examine, report

    return report(examine(ctx.find_root().obj), as_json=as_json)


def _findings(path: Path) -> Iterator[Dict[str, Any]]:
    require_server()
    command = [sys.executable, "-m", "normlab.laws.checking", str(path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if not line.startswith("{"):
                continue  # the author's own output
            finding = json.loads(line)
            if "error" in finding:
                raise InvalidSpec(f"{path}: {finding['error']}")
            yield finding
        said = child.communicate()[1]
    if child.returncode not in (0, 1):
        last = (said.strip().splitlines() or ["it printed nothing"])[-1]
        raise InvalidSpec(f"{path}: the checks ended with {child.returncode}: {last}")


def _show(found: List[Dict[str, Any]]) -> None:
    kinds = list(dict.fromkeys(finding["kind"] for finding in found))
    laws = list(dict.fromkeys(finding["law"] for finding in found))
    by_place = {(finding["law"], finding["kind"]): finding for finding in found}
    rows = [[law, *(_cell(by_place.get((law, kind))) for kind in kinds)] for law in laws]
    print_table(["law", *kinds], rows)
    for finding in found:
        if finding["verdict"] in ("broken", "refused"):
            print(f"{finding['kind']}, {finding['law']}: {finding['detail']}")


def _cell(finding: Optional[Dict[str, Any]]) -> str:
    if finding is None:  # a law of another part
        return ""
    return _SHOWN[finding["verdict"]] or str(finding["detail"]).partition(" times")[0]
