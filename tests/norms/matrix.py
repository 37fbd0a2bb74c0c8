"""Every kind equals eager float64 in every mode of PyTorch, or refuses by name.

`python -m tests.norms.matrix` writes the table into `docs/normalizers.md`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional, Tuple, Union

import torch
from torch import Tensor, nn

from normlab.norms import make
from tests.norms import rounding, ways
from tests.norms.ways import Record, Way

PAGE = Path("docs/normalizers.md")
_BLOCK = re.compile(r"<!-- table: ways -->\n.*?<!-- end of table -->", re.S)

_SOON = {"warmup_steps": 0, "r_steps": 2, "d_steps": 2}  # limits that differ from step to step

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
    "batch_renorm, ludvb": (
        {"kind": "batch_renorm", "variant": "ludvb", "clipping": "none", "momentum": 0.1},
        None,
    ),
    "batch_renorm, averaged": (
        {"kind": "batch_renorm", "momentum": None, "clipping": "steps", **_SOON},
        None,
    ),
    "batch_renorm, ghost batches": (
        {"kind": "batch_renorm", "virtual_batch_size": 2, "clipping": "constant"},
        None,
    ),
    "streaming": ("streaming", None),
    "streaming, ghost batches": ({"kind": "streaming", "virtual_batch_size": 2}, None),
    "l1_batch": ("l1_batch", None),
    "l1_batch, reference": (
        {"kind": "l1_batch", "running": "reference", "constant": "consistent"},
        None,
    ),
    "linf_batch": ("linf_batch", None),
    "linf_batch, averaged": ({"kind": "linf_batch", "momentum": None}, None),
    "topk_batch": ({"kind": "topk_batch", "k": 12}, None),
    "online": ("online", None),
    "online, clamp": ({"kind": "online", "error_compensation": "clamp"}, None),
    "online, none": ({"kind": "online", "error_compensation": "none"}, None),
    "online, groups": ({"kind": "online", "layer_scaling_group_size": 4}, None),
    "online, proxy": ({"kind": "online", "proxy": True}, "gelu"),
    "switchable": ("switchable", None),
    "switchable, unbiased": ({"kind": "switchable", "unbiased_reference": True}, None),
    "switchable, averaged": ({"kind": "switchable", "running": "average"}, None),
    "sparse_switchable": ({"kind": "sparse_switchable", "radius": 0.3}, None),
    "sparse_switchable, reference": (
        {
            "kind": "sparse_switchable",
            "radius": 0.3,
            "variant": "reference",
            "unbiased_reference": True,
            "running": "average",
        },
        None,
    ),
    "meta": ("meta", None),
    "meta, batch": ({"kind": "meta", "samples": "batch"}, None),
    "meta, learned": ({"kind": "meta", "samples": "learned", "momentum": None}, None),
}


class Column(NamedTuple):
    """A mode of PyTorch, the float64 result that it must equal, and the precision."""

    way: Way
    reference: Way = ways.eager
    tolerance: float = 2e-5  # relative to the length of the compared tensor
    rounding: Optional[torch.dtype] = None  # what this costs is tolerated, and no fixed part
    refused: Tuple[str, ...] = ()  # kinds, with all their variants


CONTROLLED = ("online", "streaming")  # their backward pass changes state
ALL = tuple({name.split(",")[0]: None for name in KINDS})

COLUMNS: Dict[str, Column] = {
    "eager": Column(ways.eager),
    "in-place operator after it": Column(ways.in_place, ways.out_of_place),
    "channels last": Column(ways.channels_last),
    "half": Column(ways.half, rounding=torch.float16),
    "bfloat16": Column(ways.bfloat16, rounding=torch.bfloat16),
    "autocast": Column(ways.autocast, rounding=torch.bfloat16),
    "accumulation": Column(ways.accumulated, ways.accumulated),
    "double backward": Column(ways.penalized, ways.penalized, 2e-4, refused=CONTROLLED),
    "checkpoint, reentrant": Column(ways.reentrant),
    "checkpoint, hooks": Column(ways.hooks),
    "DDP": Column(ways.ddp),
    "functional_call": Column(ways.functional),
    "pickle, deepcopy": Column(ways.copied),
    "meta device": Column(ways.on_meta),
    "compiled, with breaks": Column(ways.broken),
    "compiled, fullgraph": Column(ways.fullgraph),
    "checkpoint around compiled, reentrant": Column(ways.around_reentrant),
    "checkpoint around compiled, hooks": Column(ways.around_hooks),
    "checkpoint inside compiled": Column(ways.checkpoint_inside),
    "compiled evaluation": Column(ways.compiled_eval, ways.evaluated),
    "vmap over models": Column(ways.vmapped, ways.each, refused=CONTROLLED),
    "func.grad, evaluation": Column(ways.transformed, ways.evaluated),
    "export, training": Column(ways.exported, refused=CONTROLLED),
    "export, evaluation": Column(ways.exported_eval, ways.evaluated),
    "jit.script": Column(ways.scripted, refused=ALL),
}


def net_of(kind: str) -> nn.Module:
    """Return a convolution, whose gradient comes from the layer, and the layer."""
    torch.manual_seed(0)
    spec, activation = KINDS[kind]
    return nn.Sequential(nn.Conv2d(3, ways.CHANNELS, 1, bias=False), make(spec, 8, activation))


def is_refused(kind: str, way: str) -> bool:
    """Return whether *kind* refuses *way* in the table."""
    return kind.split(",")[0] in COLUMNS[way].refused


def tolerated(kind: str, way: str, exact: Record) -> Dict[str, float]:
    """Return which part of its length each value of *exact* may be off in *way*."""
    column = COLUMNS[way]
    if column.rounding is None:
        return dict.fromkeys(exact, column.tolerance)
    wide = column.way is ways.autocast  # parameters stay in float32
    return rounding.tolerances(lambda: net_of(kind), exact, column.rounding, wide, _off)


def differences(
    found: Record, expected: Record, tolerance: Union[float, Dict[str, float]]
) -> Dict[str, float]:
    """Return the tensors that differ by more than *tolerance* of their length, and by how much."""
    names = [n for n, e in expected.items() if n in found or bool(e.any())]  # None is no gradient
    limits = tolerance if isinstance(tolerance, dict) else dict.fromkeys(names, tolerance)
    off = {n: _off(found[n], expected[n]) for n in names}
    return {n: o for n, o in off.items() if not o <= limits[n]}


def _off(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / (expected.norm() + 1e-2))


def table() -> str:
    """Return the table: one row per way, one column per kind with its variants."""
    lines = [f"| | {' | '.join(f'`{k}`' for k in ALL)} |", f"|---|{'---|' * len(ALL)}"]
    for way, column in COLUMNS.items():
        cells = ["refused" if kind in column.refused else "equal" for kind in ALL]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


def fill(page: str) -> str:
    """Return *page* with the current table."""
    return _BLOCK.sub(f"<!-- table: ways -->\n{table()}\n<!-- end of table -->", page)


if __name__ == "__main__":
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
