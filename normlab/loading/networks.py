"""A network from a job's specification, with the weights of a file."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from normlab.data import Data
from normlab.errors import InvalidSpec
from normlab.nets import build
from normlab.specs.jobs import JobSpec
from normlab.specs.sizes import task_of
from normlab.specs.zoo import without_weights


def network_of(spec: JobSpec, data: Data, weights: Path) -> nn.Module:
    """
    Return *spec*'s network for *data* with the *weights*, in evaluation mode, on the CPU.

    torch's global random numbers stay as they are.

    Raises:
        InvalidSpec: the weights are of another network.
    """
    with torch.random.fork_rng(devices=[]):
        sizes = (data.channels, data.num_classes, data.image_size)
        options = without_weights(spec.model.name, spec.model.options)  # ours replace them
        fresh = spec.model.model_copy(update={"options": options})
        model = build(fresh, spec.normalizer, *sizes, task=task_of(spec).name)
    try:
        model.load_state_dict(safetensors.torch.load_file(str(weights)))
    except RuntimeError as e:
        raise InvalidSpec(f"{weights.name} is of another network than the job's: {e}") from e
    return model.eval()
