"""The law of the layers: every kind in every way of running is eager float64, or refused by name.

`python -m tests.norms.matrix` writes the table of it into `docs/normalizers.md`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn

from normlab.norms import make
from tests.norms import ways
from tests.norms.ways import Record, Way

PAGE = Path("docs/normalizers.md")
_BLOCK = re.compile(r"<!-- table: ways -->\n.*?<!-- end of table -->", re.S)

KINDS: Dict[str, Tuple[Any, Optional[str]]] = {
    "batch": ("batch", None),
    "batch, averaged": ({"kind": "batch", "momentum": None}, None),
    "batch, ghost batches": ({"kind": "batch", "virtual_batch_size": 2}, None),
    "batch, proxy": ({"kind": "batch", "proxy": True}, "gelu"),
    "layer": ("layer", None),
    "instance": ("instance", None),
    "group": ({"kind": "group", "groups": 2}, None),
    "group, strided": ({"kind": "group", "groups": 2, "grouping": "strided"}, None),
    "rms": ("rms", None),
    "rms, partial": ({"kind": "rms", "p": 0.5, "groups": 2}, None),
    "dyt": ("dyt", None),
    "filter_response": ("filter_response", None),
    "filter_response, thresholded": ({"kind": "filter_response", "learned_eps": True}, "relu"),
    "evonorm_s0": ({"kind": "evonorm_s0", "groups": 2}, "relu"),
    "group, proxy": ({"kind": "group", "groups": 2, "proxy": True}, "relu"),
    "batch_renorm": ("batch_renorm", None),
    "batch_renorm, keras": (
        {"kind": "batch_renorm", "variant": "keras", "clipping": "constant"},
        None,
    ),
    "streaming": ("streaming", None),
    "l1_batch": ("l1_batch", None),
    "linf_batch": ("linf_batch", None),
    "topk_batch": ({"kind": "topk_batch", "k": 12}, None),
    "online": ("online", None),
    "online, clamp": ({"kind": "online", "error_compensation": "clamp"}, None),
    "online, proxy": ({"kind": "online", "proxy": True}, "gelu"),
    "switchable": ("switchable", None),
    "sparse_switchable": ({"kind": "sparse_switchable", "radius": 0.3}, None),
    "meta": ("meta", None),
    "meta, batch": ({"kind": "meta", "samples": "batch"}, None),
}


class Column(NamedTuple):
    """A way of running, what it is to equal in float64, and to which precision."""

    way: Way
    reference: Way = ways.eager
    tolerance: float = 2e-5  # of the length of what is compared
    refused: Tuple[str, ...] = ()  # kinds, with all their variants


CONTROLLED = ("online", "streaming")  # their backward moves state
ALL = tuple({name.split(",")[0]: None for name in KINDS})

COLUMNS: Dict[str, Column] = {
    "eager": Column(ways.eager),
    "in-place operator after it": Column(ways.in_place, ways.out_of_place),
    "channels last": Column(ways.channels_last),
    "half": Column(ways.half, tolerance=0.1),
    "bfloat16": Column(ways.bfloat16, tolerance=0.4),
    "autocast": Column(ways.autocast, tolerance=0.4),
    "accumulation": Column(ways.accumulated, ways.accumulated),
    "double backward": Column(ways.penalized, ways.penalized, 2e-4, CONTROLLED),
    "checkpoint, reentrant": Column(ways.reentrant),
    "checkpoint, hooks": Column(ways.hooks),
    "DDP": Column(ways.ddp),
    "functional_call": Column(ways.functional),
    "pickle, deepcopy": Column(ways.copied),
    "meta device": Column(ways.on_meta),
    "compiled, with breaks": Column(ways.broken),
    "compiled, fullgraph": Column(ways.fullgraph),
    "compiled evaluation": Column(ways.compiled_eval, ways.evaluated),
    "vmap over models": Column(ways.vmapped, ways.each, refused=CONTROLLED),
    "func.grad, evaluation": Column(ways.transformed, ways.evaluated),
    "export, training": Column(ways.exported, refused=CONTROLLED),
    "export, evaluation": Column(ways.exported_eval, ways.evaluated),
    "jit.script": Column(ways.scripted, refused=ALL),
}


def net_of(kind: str) -> nn.Module:
    """Return a convolution, whose gradient is what the layer sends back, and the layer."""
    torch.manual_seed(0)
    spec, activation = KINDS[kind]
    return nn.Sequential(nn.Conv2d(3, ways.CHANNELS, 1, bias=False), make(spec, 8, activation))


def is_refused(kind: str, way: str) -> bool:
    """Return whether the table says that *kind* refuses *way*."""
    return kind.split(",")[0] in COLUMNS[way].refused


def differences(found: Record, expected: Record, tolerance: float) -> Dict[str, float]:
    """Return what differs by more than *tolerance* of its length, and by how much."""
    names = [n for n, e in expected.items() if n in found or bool(e.any())]  # None is no gradient
    off = {n: _off(found[n], expected[n]) for n in names}
    return {n: o for n, o in off.items() if not o <= tolerance}


def _off(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / (expected.norm() + 1e-2))


def table() -> str:
    """Return the table: a row for each way, a column for each kind with its variants."""
    lines = [f"| | {' | '.join(f'`{k}`' for k in ALL)} |", f"|---|{'---|' * len(ALL)}"]
    for way, column in COLUMNS.items():
        cells = ["refused" if kind in column.refused else "equal" for kind in ALL]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


def fill(page: str) -> str:
    """Return *page* with the table up to date."""
    return _BLOCK.sub(f"<!-- table: ways -->\n{table()}\n<!-- end of table -->", page)


if __name__ == "__main__":
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
