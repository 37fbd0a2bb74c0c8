"""The networks, each with any normalizer: `build` makes them by name."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from torch import nn

from normlab.errors import InvalidSpec
from normlab.nets.factories import FORMS, Report
from normlab.nets.initialization import zero_last_scales
from normlab.nets.sites import NetSpec, Site
from normlab.specs.models import MODELS
from normlab.specs.named_objects import named_object
from normlab.specs.network_and_data import ModelSpec
from normlab.specs.norm_base import NormSpec

__all__ = ["NetSpec", "Site", "build"]


def build(
    model: ModelSpec,
    normalizer: NormSpec,
    in_channels: int,
    num_classes: int,
    image_size: int,
    report: Report = None,
    task: str = "classification",
    data_root: Optional[Path] = None,
) -> nn.Module:
    """
    Build a network with fresh weights from torch's global random numbers.

    Args:
        report: gets what was done with each norm layer, where these are exchanged for
            *normalizer*, and the weights that were loaded; None: nothing.
        task: for which it gets its head, where it has several.
        data_root: the folder in which it finds files of weights; None: there are none.

    Shape:
        (N, *in_channels*, *image_size*, *image_size*) -> (N, *num_classes*), the logits; a
        segmenting net gives those of each pixel, (N, *num_classes*, *image_size*, *image_size*). A
        recurrent net maps (N, *in_channels*, *image_size*) to (N, *num_classes*, *image_size*).

    Raises:
        InvalidSpec: no such network, images too small for it, channels that do not fit
            *normalizer*, or no scale to start at 0.
    """
    if model.name not in MODELS:
        raise InvalidSpec(f"no model {model.name!r}; there are {', '.join(MODELS)}")
    facts = MODELS[model.name]
    if image_size < facts.min_image_size:
        raise InvalidSpec(
            f"{model.name} needs images of {facts.min_image_size} pixels or more, not {image_size}"
        )
    width = model.width or facts.default_width or 0
    fixed = (width, image_size, task, data_root, model.dropout, model.stochastic_depth)
    spec = NetSpec(normalizer, in_channels, num_classes, *fixed)
    make, options = FORMS[facts.form], {**model.options, **facts.given}
    net: nn.Module = make(named_object(facts.factory), spec, options, report)
    if model.zero_last_scale:
        zero_last_scales(net)
    return net
