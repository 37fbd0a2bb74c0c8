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
from normlab.specs.network_and_data import ModelSpec
from normlab.specs.norm_base import NormSpec
from normlab.specs.registries import named_object

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
        report: receives the conversion report, if norm layers are exchanged for *normalizer*,
            and the weights that were loaded.
        task: the task that decides the head of a network with several heads.
        data_root: the folder for files of weights; None if there is none.

    Shape:
        (N, *in_channels*, *image_size*, *image_size*) -> (N, *num_classes*), the logits. A
        segmentation net returns the logits of each pixel,
        (N, *num_classes*, *image_size*, *image_size*). A recurrent net maps
        (N, *in_channels*, *image_size*) to (N, *num_classes*, *image_size*).

    Raises:
        InvalidSpec: there is no such network, images are too small for it, channels do not fit
            *normalizer*, or there is no scale to start at 0.
    """
    if model.name not in MODELS:
        raise InvalidSpec(f"there is no model {model.name!r}; use one of {', '.join(MODELS)}")
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
