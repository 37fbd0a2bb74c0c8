"""`normlab weights`: the weights of a trained network, as files for other programs."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional

import typer

from normlab.cli.completion import JobArgument, one_of
from normlab.cli.connecting import connect
from normlab.cli.output import SHORT_ID, AsJson, examples, print_json, print_table
from normlab.errors import InvalidSpec
from normlab.stacks.addresses import resolve

if TYPE_CHECKING:
    from normlab.records import JobDetail

FORMATS = {"safetensors": ".safetensors", "torch-export": ".pt2"}


commands = typer.Typer()


@commands.command(
    epilog=examples(
        "normlab weights 5f0c9a41",
        "normlab weights 5f0c9a41 --out net.safetensors",
        "normlab weights 5f0c9a41 --format torch-export --out net.pt2",
        "normlab weights 5f0c9a41 --list      the names for `freeze` and `init_from`",
    )
)
def weights(
    ctx: typer.Context,
    job: str = JobArgument,
    out: Optional[Path] = typer.Option(
        None, "--out", "-o", help="The file to write; default: weights-JOB.safetensors, here."
    ),
    form: str = typer.Option(
        "safetensors",
        "--format",
        "-f",
        help=f"{' or '.join(FORMATS)} (a program; needs torch).",
        autocompletion=one_of(*FORMATS),
    ),
    names: bool = typer.Option(False, "--list", help="Write nothing; list the tensors."),
    data_root: Optional[Path] = typer.Option(
        None,
        envvar="NORMLAB_DATA_ROOT",
        help="With torch-export: the folder of datasets; default: that of the stack.",
    ),
    trust_code: bool = typer.Option(
        False, "--trust-code", help="With torch-export: run the plugins that the job uses, here."
    ),
    as_json: bool = AsJson,
) -> None:
    """Download the weights of a finished job, with a model card beside them.

    The file holds all parameters and buffers by name. In Python, `normlab.load(JOB)` returns the
    network itself.
    """
    from normlab.specs.dataset_contents import sha256

    if form not in FORMATS:
        raise InvalidSpec(f"--format {form}: choose one of {', '.join(FORMATS)}")
    with connect(ctx) as client, tempfile.TemporaryDirectory(prefix="normlab-weights-") as folder:
        found = client.get(job)
        target = out or Path(f"weights-{found.id[-SHORT_ID:]}{FORMATS[form]}")
        as_it_is = form == "safetensors" and not names
        kept = target if as_it_is else Path(folder) / "weights.safetensors"
        client.save_weights(found.id, kept)
        if names:
            _list(kept, as_json)
            return
        digest = sha256(kept)
        if not as_it_is:
            order = {"job": found.id, "out": str(target), "sha256": digest}
            options = {"data_root": data_root and str(data_root), "trust_code": trust_code}
            _export(ctx, {**order, **options})
        _tell(found, target, digest, as_json)


def _list(path: Path, as_json: bool) -> None:
    from normlab.specs.array_files import heads

    found = heads(path)
    if as_json:
        print_json({name: {"shape": h.shape, "dtype": h.dtype} for name, h in found.items()})
    else:
        rows: List[List[Any]] = [[n, str(tuple(h.shape)), h.dtype] for n, h in found.items()]
        print_table(["name", "shape", "type"], rows)


def _export(ctx: typer.Context, order: Dict[str, Any]) -> None:
    """Write a program in a separate process, because this one never imports torch."""
    if find_spec("torch") is None:
        raise InvalidSpec("--format torch-export needs torch here; pip install 'normlab[train]'")
    address = resolve(ctx.find_root().obj)
    asked = json.dumps({**order, "url": address.url, "token": address.token})
    command = [sys.executable, "-m", "normlab.trained.export"]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise InvalidSpec(f"the export ended with {done.returncode}: {last}")
    answer = json.loads(lines[-1])
    if "error" in answer:
        raise InvalidSpec(answer["error"])


def _tell(job: JobDetail, target: Path, digest: str, as_json: bool) -> None:
    from normlab.presentation.model_card import model_card

    card = target.with_suffix(".md")
    card.write_text(model_card(job, target.name, digest), encoding="utf-8")
    if as_json:
        print_json({"weights": str(target), "card": str(card), "sha256": digest})
    else:
        print(f"wrote {target} and {card}")
        print(f"SHA-256 of the weights: {digest}")
