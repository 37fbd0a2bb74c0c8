"""How each diagnostic is drawn on the page inside a network, and how its picture is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scale = Literal["share", "ratio", "log", "linear"]
Form = Literal["layers", "bands", "ablation", "line", "numbers"]


@dataclass(frozen=True)
class PanelMeasure:
    """
    One measure, as it is named in metrics, and its colours.

    Attributes:
        scale: share: from 0 to 1; ratio: on both sides of 1, logarithmic; log; linear.
    """

    name: str
    title: str
    scale: Scale = "linear"


@dataclass(frozen=True)
class Shares:
    """Measures that add up to a whole."""

    name: str
    title: str
    terms: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Panel:
    """
    One diagnostic on the page.

    Attributes:
        form: layers: a heat map with a row for each layer, and stacked areas of one layer.
        reading: what to look for, in a sentence or two.
    """

    diagnostic: str
    title: str
    reading: str
    form: Form = "layers"
    measures: tuple[PanelMeasure, ...] = ()
    stacks: tuple[Shares, ...] = ()


_TERMS = (
    ("channel_mean", "channel means"),
    ("sample_mean", "sample means"),
    ("channel_std", "channel deviations"),
    ("sample_std", "sample deviations"),
)
_PLACES = (("norm", "behind the norm"), ("out", "behind the activation"))
_SOURCES = (("instance", "instance"), ("layer", "layer"), ("batch", "batch"))
_MOMENTS = (("mean", "of the mean"), ("var", "of the variance"))

PANELS = (
    Panel(
        "power",
        "Power of the signal",
        "The power behind each normalizer, split into four terms that add up. Where the channel "
        "means take all of it, every sample and position carries the same value: the layer has "
        "collapsed, channel by channel.",
        measures=tuple(
            PanelMeasure(f"{place}/{term}", f"{title} {where}")
            for place, where in _PLACES
            for term, title in (*_TERMS, ("total", "whole power"))
        ),
        stacks=tuple(
            Shares(place, where, tuple((f"{place}/{term}", title) for term, title in _TERMS))
            for place, where in _PLACES
        ),
    ),
    Panel(
        "effective_step",
        "Effective step",
        "Before a normalizer only the direction of a channel's weights counts, and an update turns "
        "it by the rate over the squared length. A dark layer hardly moves; a bright one changes "
        "wildly.",
        measures=(
            PanelMeasure("effective", "effective step, rate / length²", "log"),
            PanelMeasure("turn", "measured turn in radians", "log"),
            PanelMeasure("weight_norm", "length of the weights", "log"),
        ),
    ),
    Panel(
        "scale_invariance",
        "Independence of scale",
        "The cosine between weights and gradient: 0 where a normalizer follows and the scale of "
        "the weights does not matter, up to its eps.",
        measures=(PanelMeasure("", "largest cosine of weights and gradient", "log"),),
    ),
    Panel(
        "switch_weights",
        "Switch weights",
        "How much instance, layer and batch statistics count in each switchable normalizer. They "
        "add up to 1; `largest` is 1 where a layer has decided.",
        measures=tuple(
            PanelMeasure(f"{moment}/{source}", f"{title} {where}", "share")
            for moment, where in _MOMENTS
            for source, title in (*_SOURCES, ("largest", "largest share"))
        ),
        stacks=tuple(
            Shares(
                moment, where, tuple((f"{moment}/{source}", title) for source, title in _SOURCES)
            )
            for moment, where in _MOMENTS
        ),
    ),
    Panel(
        "group_sizes",
        "Learned groups",
        "How many channels share their statistics under learned meta normalization.",
        measures=(PanelMeasure("", "channels in a group", "log"),),
    ),
    Panel(
        "batch_statistics",
        "Batch statistics against their priors",
        "The scatter of the statistics of batches, divided by the scatter that independent "
        "Gaussian values would have. 1 is the prior. Above 1, neighbouring positions are alike, "
        "and a batch counts as fewer values than it has.",
        measures=(
            PanelMeasure("mean_ratio", "scatter of the means over its prior", "ratio"),
            PanelMeasure("std_ratio", "scatter of the deviations over its prior", "ratio"),
            PanelMeasure("effective_share", "share of values that count as independent", "log"),
            PanelMeasure("mean_exponent", "slope of the means' scatter against size; -1 for 1 / M"),
            PanelMeasure(
                "std_exponent", "slope of the deviations' scatter against size; -1 for 1 / M"
            ),
        ),
    ),
    Panel(
        "weight_norms",
        "Lengths of the weights",
        "The length of the weights of each output channel: the mean over a layer, and its "
        "extremes.",
        measures=(
            PanelMeasure("mean", "mean length", "log"),
            PanelMeasure("smallest", "smallest length", "log"),
            PanelMeasure("largest", "largest length", "log"),
        ),
    ),
    Panel(
        "landscape",
        "Landscape along the gradient",
        "The range of the loss, and of the gradient's change, over steps of half to four learning "
        "rates along one gradient. A narrow band is a smooth landscape.",
        form="bands",
        measures=(PanelMeasure("loss", "loss"), PanelMeasure("change", "change of the gradient")),
    ),
    Panel(
        "ablation",
        "Ablation of channels",
        "Accuracy while more and more random channels are silenced. A curve that stays high long "
        "is a network that does not depend on single channels.",
        form="ablation",
    ),
    Panel(
        "regularization",
        "Noise of batches in the loss",
        "By how much the noise of batch statistics raises the loss at each batch size M, against "
        "1 / M: a line through 0 where it is inversely proportional to the batch.",
        form="line",
    ),
    Panel(
        "gradient_bias",
        "Bias of the gradient",
        "The average gradient over batches against that of all samples at once. Cosine and ratio "
        "of lengths are 1, and the error 0, where a normalizer does not need the batch.",
        form="numbers",
        measures=(
            PanelMeasure("cosine", "cosine"),
            PanelMeasure("norm_ratio", "ratio of lengths"),
            PanelMeasure("relative_error", "relative error"),
        ),
    ),
)
