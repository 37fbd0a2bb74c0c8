"""What each kind of device can run, as far as a spec alone tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List

from normlab.specs.normalizers import SPECS


@dataclass(frozen=True)
class Abilities:
    """Kinds of normalizer, precisions, and what replicas are made of."""

    normalizers: List[str]
    precisions: List[str]
    replicas: str


def abilities(device: str) -> Abilities:
    """Return what *device* ("cpu", "cuda" or "ipu") can run."""
    every = [str(spec.model_fields["kind"].default) for spec in SPECS]
    on_ipu = [str(spec.model_fields["kind"].default) for spec in SPECS if spec.runs_on_ipu]
    table: Dict[str, Abilities] = {
        "cpu": Abilities(every, ["float32", "bfloat16"], "a process of the host, gloo"),
        "cuda": Abilities(every, ["float32", "bfloat16", "float16"], "a GPU of the worker, nccl"),
        "ipu": Abilities(on_ipu, ["float32"], "an IPU, PopTorch"),
    }
    return table[device]
