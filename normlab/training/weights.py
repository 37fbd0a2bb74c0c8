"""The final weights of a training, in a file that other frameworks can read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import safetensors.torch
from torch import nn

from normlab.events import ArtifactWritten
from normlab.specs.jobs import JobSpec
from normlab.training.checkpoints import write_whole

NAME = "weights.safetensors"


def write_weights(model: nn.Module, spec: JobSpec, folder: Path) -> ArtifactWritten:
    """
    Write *model*'s parameters and buffers below *folder*, with *spec* in the file's head.

    The file is written atomically; an earlier one is replaced.

    Raises:
        StorageFull: no space is left.
    """
    # each tensor by itself: the format refuses two names for one piece of memory
    tensors = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in model.state_dict().items()
    }
    content = safetensors.torch.save(tensors, {"format": "pt", "job": spec.model_dump_json()})
    path = folder / NAME
    write_whole(path, memoryview(content))
    sha256 = hashlib.sha256(content).hexdigest()
    return ArtifactWritten(name=NAME, path=str(path), sha256=sha256, bytes=len(content))
