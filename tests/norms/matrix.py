"""Every kind equals eager float64 in every mode of PyTorch, or refuses by name.

`python -m tests.norms.matrix` writes the table into `docs/normalizers.md`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

import torch
from torch import nn

from normlab.laws import small_trainings
from normlab.laws.modes import MODES
from normlab.norms import make
from normlab.specs.normalizers import BY_KIND

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
KINDS.update(
    (kind, (kind, None))
    for kind, facts in BY_KIND.own.items()
    if facts.layer is not None and kind not in KINDS
)

CONTROLLED = ("online", "streaming")  # their backward pass changes state
ALL = tuple({name.split(",")[0]: None for name in KINDS})
REFUSED: Dict[str, Tuple[str, ...]] = {  # kinds, with all their variants
    "double backward": CONTROLLED,
    "vmap over models": CONTROLLED,
    "export, training": CONTROLLED,
    "jit.script": ALL,
}


def net_of(kind: str) -> nn.Module:
    """Return a convolution, whose gradient comes from the layer, and the layer."""
    torch.manual_seed(0)
    spec, activation = KINDS[kind]
    return nn.Sequential(
        nn.Conv2d(3, small_trainings.CHANNELS, 1, bias=False), make(spec, 8, activation)
    )


def is_refused(kind: str, mode: str) -> bool:
    """Return whether *kind* refuses *mode* in the table."""
    return kind.split(",")[0] in REFUSED.get(mode, ())


def table() -> str:
    """Return the table: one row per mode, one column per kind with its variants."""
    lines = [f"| | {' | '.join(f'`{k}`' for k in ALL)} |", f"|---|{'---|' * len(ALL)}"]
    for mode in MODES:
        cells = ["refused" if is_refused(kind, mode) else "equal" for kind in ALL]
        lines.append(f"| {mode} | {' | '.join(cells)} |")
    return "\n".join(lines)


def fill(page: str) -> str:
    """Return *page* with the current table."""
    return _BLOCK.sub(f"<!-- table: ways -->\n{table()}\n<!-- end of table -->", page)


if __name__ == "__main__":
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
