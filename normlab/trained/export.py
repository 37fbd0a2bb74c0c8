"""
Export a job's network as a program of torch.export, in a process that has torch.

    python -m normlab.trained.export < order.json

The order has url, token, job, out, data_root and trust_code; the answer is one line of JSON,
with `written` or `error`.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any, Dict

import torch
from torch import nn

from normlab.client import Client
from normlab.errors import InvalidSpec, NormlabError
from normlab.presentation.model_card import model_card
from normlab.trained import Loaded, load

CARD = "model_card.md"  # in the archive, where torch.export.load finds it as an extra file


def main() -> int:
    """Read the order, and write the exported program."""
    order: Dict[str, Any] = json.load(sys.stdin)
    try:
        with Client(order["url"], order["token"]) as client:
            _export(client, order)
        print(json.dumps({"written": order["out"]}))
    except (NormlabError, OSError) as e:
        print(json.dumps({"error": str(e)}))
    return 0


def _export(client: Client, order: Dict[str, Any]) -> None:
    root = Path(order["data_root"]) if order["data_root"] else None
    job = client.get(order["job"])
    loaded = load(job.id, client=client, data_root=root, trust_code=order["trust_code"])
    card = model_card(job, Path(order["out"]).name, order["sha256"])
    write_program(loaded, Path(order["out"]), card)


def write_program(loaded: Loaded, path: Path, card: str = "") -> None:
    """
    Write the network of *loaded* for batches of any size, in evaluation mode, with *card*.

    Raises:
        InvalidSpec: torch cannot trace it; the message has its reason.
    """
    if not hasattr(torch, "export") or not hasattr(torch.export, "save"):
        raise InvalidSpec(f"torch {torch.__version__} has no torch.export; 2.1 or newer has it")
    x, _ = next(iter(loaded.data))
    try:
        program = _traced(loaded.model, x)
    except (RuntimeError, ValueError, TypeError) as e:
        kind = loaded.data.spec.normalizer.kind
        reason = " ".join(str(e).split())[:300]
        raise InvalidSpec(
            f"torch.export cannot trace {loaded.data.spec.model.name} with {kind!r} "
            f"({type(e).__name__}: {reason}); use the safetensors file and `normlab.load`"
        ) from e
    torch.export.save(program, str(path), extra_files={CARD: card})


def _traced(model: nn.Module, x: torch.Tensor) -> Any:
    samples = torch.export.Dim("samples", min=1)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # about torch's own code
        # two samples: a batch of one would be taken for a constant
        return torch.export.export(model, (x[:2],), dynamic_shapes=({0: samples},))


if __name__ == "__main__":
    sys.exit(main())
