"""`normlab plugins`, and the code that a job or a study brings along."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Sequence

import typer

from normlab.cli.connecting import connect
from normlab.cli.output import AsJson, examples, print_json, print_table
from normlab.errors import InvalidSpec

if TYPE_CHECKING:
    from normlab.client import Client
    from normlab.records.plugins import PluginRecord

_DIGEST = re.compile("^[0-9a-f]{64}$")

_NONE = (
    "no code was given to the stack; give some for one job with `normlab submit --code FILE.py`, "
    "or for all with `normlab up --with FILE.py`"
)

Code = typer.Option(
    [],
    "--code",
    metavar="PATH",
    help="A .py file or folder with code that the job uses (repeatable); it is uploaded.",
)


commands = typer.Typer()


@commands.command(
    "plugins",
    epilog=examples(
        "normlab plugins",
        "normlab up --with my_norms.py   (for every job)",
        "normlab submit --code my_norms.py -s normalizer=my_norm   (for one job)",
    ),
)
def plugins(ctx: typer.Context, as_json: bool = AsJson) -> int:
    """List the code that was given to the stack, what it adds, and what cannot be used.

    Exits 1 if one of the operator's plugins cannot be used.
    """
    from normlab.records.plugins import PluginRecord

    with connect(ctx) as client:
        found = client.plugins.list()
    if as_json:
        print_json(found, [*found.plugins, *found.troubles], PluginRecord.model_fields)
        return 1 if found.troubles else 0
    rows = [
        [p.name, p.digest[:12], "every job" if p.everywhere else f"uploaded by {p.owner}", _adds(p)]
        for p in found.plugins
    ]
    if rows:
        print_table(["plugin", "digest", "for", "adds"], rows)
    elif not found.troubles:
        print(_NONE, file=sys.stderr)
    for trouble in found.troubles:
        print(f"\n{trouble.name} cannot be used: {trouble.reason}")
        if trouble.traceback:
            print(trouble.traceback.rstrip())
    return 1 if found.troubles else 0


def _adds(plugin: PluginRecord) -> str:
    return ", ".join(f"{entry.part} {entry.name}" for entry in plugin.entries)


def with_code(
    client: Client,
    spec: Dict[str, Any],
    paths: Sequence[str],
    file: Optional[str],
    project: Optional[str] = None,
) -> Dict[str, Any]:
    """
    Return *spec* with the digests of its code, which is uploaded if it is not there yet.

    Args:
        spec: a job, or a study, whose `code` goes into its base.
        paths: from the command line.
        file: the file of *spec*; paths in its `code` are relative to its folder.
        project: the project of *spec* and of the uploaded code.
    """
    rest = {name: value for name, value in spec.items() if name != "code"}
    digests = [*_named(client, spec.get("code", ()), file, project)]
    digests += [client.plugins.upload(path, project).digest for path in paths]
    if not digests:
        return spec
    base = rest.get("base")
    if not isinstance(base, dict):  # the service checks the base of a study
        return {**rest, "code": digests}
    return {**rest, "base": {**base, "code": [*base.get("code", ()), *digests]}}


def _named(client: Client, code: Any, file: Optional[str], project: Optional[str]) -> Iterator[str]:
    named: List[Any] = list(code) if isinstance(code, (list, tuple)) else [code]
    folder = Path() if file in (None, "-") else Path(str(file)).parent
    for one in named:
        if not isinstance(one, str):
            raise InvalidSpec(f"code: {one!r} is neither a path nor a digest of a plugin")
        yield one if _DIGEST.match(one) else client.plugins.upload(folder / one, project).digest
