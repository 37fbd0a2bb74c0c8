"""A job's network without its weights, to be filled with other weights."""

from __future__ import annotations

from pathlib import Path
from typing import Tuple

import safetensors.torch
import torch
from torch import nn

from normlab.data.training_data import TrainingData
from normlab.errors import InvalidSpec
from normlab.nets import build
from normlab.specs.jobs import JobSpec
from normlab.specs.norm_base import NormSpec
from normlab.specs.sizes import task_of
from normlab.specs.zoo import without_weights


def bare_network(spec: JobSpec, normalizer: NormSpec, sizes: Tuple[int, int, int]) -> nn.Module:
    """
    Build *spec*'s network with *normalizer*, whose weights are to be overwritten.

    torch's global random numbers stay as they are, and no weights of a library are read.

    Args:
        sizes: channels, classes and side of the images.
    """
    options = without_weights(spec.model.name, spec.model.options)
    bare = spec.model.model_copy(update={"options": options})
    with torch.random.fork_rng(devices=[]):
        return build(bare, normalizer, *sizes, task=task_of(spec).name)


def network_of(spec: JobSpec, data: TrainingData, weights: Path) -> nn.Module:
    """
    Return *spec*'s network for *data* with the *weights*, in evaluation mode, on the CPU.

    torch's global random numbers stay as they are.

    Raises:
        InvalidSpec: the weights are of another network.
    """
    sizes = (data.channels, data.num_classes, data.image_size)
    model = bare_network(spec, spec.normalizer, sizes)
    try:
        model.load_state_dict(safetensors.torch.load_file(str(weights)))
    except RuntimeError as e:
        raise InvalidSpec(f"{weights.name} is of another network than the job's: {e}") from e
    return model.eval()
