"""The final weights of a training, in a file that other frameworks can read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

import safetensors.torch
from torch import Tensor

from normlab.events import ArtifactWritten
from normlab.specs.jobs import JobSpec
from normlab.specs.measures import is_timing
from normlab.training.checkpoints import write_whole

NAME = "weights.safetensors"
SIZES = ("channels", "num_classes", "image_size")


def write_weights(
    tensors: Mapping[str, Tensor],
    spec: JobSpec,
    folder: Path,
    metrics: Optional[Mapping[str, float]] = None,
    sizes: Optional[Mapping[str, int]] = None,
) -> ArtifactWritten:
    """
    Write a network's *tensors* below *folder*, with a description in the file's head.

    The file is written atomically; an earlier one is replaced.

    Args:
        tensors: parameters and buffers, on the host.
        metrics: their last values; those of the machine are left out, so that the same training
            has the same file.
        sizes: channels and side of the images, and number of classes.

    Raises:
        StorageFull: no space is left.
    """
    # each tensor separately, because the format refuses two names for the same memory
    alone = {name: value.contiguous().clone() for name, value in tensors.items()}
    described = _described(spec, metrics or {}, sizes or {})
    content = _in_order(safetensors.torch.save(alone, described))
    path = folder / NAME
    write_whole(path, memoryview(content))
    sha256 = hashlib.sha256(content).hexdigest()
    return ArtifactWritten(name=NAME, path=str(path), sha256=sha256, bytes=len(content))


def _in_order(content: bytes) -> bytes:
    """
    Return the safetensors file *content* with the description sorted by name.

    The library writes it in an order that changes from one process to the next, which would change
    the digest of the file.
    """
    start = 8 + int.from_bytes(content[:8], "little")
    head = json.loads(content[8:start])
    ordered = {"__metadata__": dict(sorted(head.pop("__metadata__").items())), **head}
    written = json.dumps(ordered, separators=(",", ":"), ensure_ascii=False).encode()
    written += b" " * (-len(written) % 8)
    return len(written).to_bytes(8, "little") + written + content[start:]


def _described(
    spec: JobSpec, metrics: Mapping[str, float], sizes: Mapping[str, int]
) -> Dict[str, str]:
    kept: Dict[str, Any] = {n: v for n, v in metrics.items() if not is_timing(n)}
    return {
        "format": "pt",
        "job": spec.model_dump_json(),
        "metrics": json.dumps(kept, sort_keys=True),
        "sizes": json.dumps(dict(sizes), sort_keys=True),
    }
