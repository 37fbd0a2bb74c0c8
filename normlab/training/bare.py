"""A job's network without its weights, to be filled with other weights."""

from __future__ import annotations

from typing import Tuple

import torch
from torch import nn

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
