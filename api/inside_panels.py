"""How each diagnostic is drawn on the page inside a network, and how to read its picture."""

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
_PLACES = (("norm", "after the norm"), ("out", "after the activation"))
_SOURCES = (("instance", "instance"), ("layer", "layer"), ("batch", "batch"))
_MOMENTS = (("mean", "of the mean"), ("var", "of the variance"))

PANELS = (
    Panel(
        "power",
        "Power of the signal",
        "The power after each normalizer, split into four terms that add up. If the channel means "
        "have all of it, every sample and position has the same value: the layer has collapsed, "
        "channel by channel.",
        measures=tuple(
            PanelMeasure(f"{place}/{term}", f"{title} {where}")
            for place, where in _PLACES
            for term, title in (*_TERMS, ("total", "total power"))
        ),
        stacks=tuple(
            Shares(place, where, tuple((f"{place}/{term}", title) for term, title in _TERMS))
            for place, where in _PLACES
        ),
    ),
    Panel(
        "effective_step",
        "Effective step",
        "Before a normalizer, only the direction of a channel's weights matters. An update turns "
        "it in proportion to the learning rate divided by the squared norm. A dark layer hardly "
        "changes; a bright one changes a lot.",
        measures=(
            PanelMeasure("effective", "effective step, rate / norm²", "log"),
            PanelMeasure("turn", "measured turn in radians", "log"),
            PanelMeasure("weight_norm", "norm of the weights", "log"),
        ),
    ),
    Panel(
        "scale_invariance",
        "Scale invariance",
        "The cosine between weights and gradient. It is 0 if a normalizer follows, because the "
        "scale of the weights then does not matter, up to its eps.",
        measures=(PanelMeasure("", "largest cosine of weights and gradient", "log"),),
    ),
    Panel(
        "switch_weights",
        "Switch weights",
        "How much instance, layer and batch statistics count in each switchable normalizer. They "
        "add up to 1; `largest` is 1 if a layer uses only one of them.",
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
        "The variance of the statistics of batches, divided by the variance that independent "
        "Gaussian values would have. 1 is the prior. Above 1, neighbouring positions are similar, "
        "and a batch counts as fewer values than it has.",
        measures=(
            PanelMeasure("mean_ratio", "variance of the means, relative to the prior", "ratio"),
            PanelMeasure("std_ratio", "variance of the deviations, relative to the prior", "ratio"),
            PanelMeasure("effective_share", "share of values that count as independent", "log"),
            PanelMeasure("mean_exponent", "slope of the means' variance against M; -1 for 1 / M"),
            PanelMeasure(
                "std_exponent", "slope of the deviations' variance against M; -1 for 1 / M"
            ),
        ),
    ),
    Panel(
        "weight_norms",
        "Norms of the weights",
        "The norm of the weights of each output channel: the mean over a layer, the smallest and "
        "the largest.",
        measures=(
            PanelMeasure("mean", "mean norm", "log"),
            PanelMeasure("smallest", "smallest norm", "log"),
            PanelMeasure("largest", "largest norm", "log"),
        ),
    ),
    Panel(
        "landscape",
        "Landscape along the gradient",
        "The range of the loss, and of the gradient's change, over steps of half to four learning "
        "rates along one gradient. A narrow band means a smooth landscape.",
        form="bands",
        measures=(PanelMeasure("loss", "loss"), PanelMeasure("change", "change of the gradient")),
    ),
    Panel(
        "ablation",
        "Ablation of channels",
        "Accuracy while more and more random channels are clamped. If the curve stays high for "
        "long, the network does not depend on single channels.",
        form="ablation",
    ),
    Panel(
        "regularization",
        "Effect of batch noise on the loss",
        "How much the noise of batch statistics raises the loss at each batch size M, drawn "
        "against 1 / M. It is a line through 0 if the rise is inversely proportional to the batch "
        "size.",
        form="line",
    ),
    Panel(
        "gradient_bias",
        "Bias of the gradient",
        "The average gradient over batches, compared with the gradient of all samples at once. "
        "The cosine and the ratio of norms are 1, and the error is 0, if a normalizer does not "
        "depend on the batch.",
        form="numbers",
        measures=(
            PanelMeasure("cosine", "cosine"),
            PanelMeasure("norm_ratio", "ratio of norms"),
            PanelMeasure("relative_error", "relative error"),
        ),
    ),
)
