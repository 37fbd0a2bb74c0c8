"""A network from a job's specification, with the weights of a file."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from torch import nn

from normlab.data.training_data import TrainingData
from normlab.errors import InvalidSpec
from normlab.specs.jobs import JobSpec
from normlab.training.bare import bare_network


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
