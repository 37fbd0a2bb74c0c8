"""The facts about all diagnostics for jobs. Needs no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import List, NamedTuple, Optional, Pattern, Tuple

from normlab.specs import registries
from normlab.specs.registries import Registry


@dataclass(frozen=True)
class DiagnosticFacts:
    """What a diagnostic measures, when, where it reports, and what it costs."""

    name: str
    summary: str
    when: str
    metrics: str
    cost: str
    source: str
    path: str = ""  # the module:class of a diagnostic that a plugin added


_ALL = (
    DiagnosticFacts(
        "power",
        "power decomposition around every normalizer: how the signal splits into channel means, "
        "sample means, channel deviations and sample deviations",
        "each epoch",
        "power/SITE/(norm|out)/(channel_mean|sample_mean|channel_std|sample_std|total)",
        "about two forward passes over 512 test samples",
        "Labatie et al. 2021, arXiv:2106.03743",
    ),
    DiagnosticFacts(
        "effective_step",
        "weight norms, effective step sizes eta / ||w||^2 and measured turns of each layer",
        "20 times per epoch",
        "step_size/LAYER/(weight_norm|effective|turn)",
        "one pass over the weights",
        "Hoffer et al. 2018, arXiv:1803.01814",
    ),
    DiagnosticFacts(
        "scale_invariance",
        "how far each layer's gradient is from orthogonal to its weights",
        "each epoch",
        "scale_invariance/LAYER",
        "one forward and backward pass over one update's samples",
        "Hoffer et al. 2018, arXiv:1803.01814, equations 1 and 2",
    ),
    DiagnosticFacts(
        "switch_weights",
        "how much each kind of statistics counts in switchable normalizers",
        "each epoch",
        "switch/(SITE|all)/(mean|var)/(instance|layer|batch|largest)",
        "nothing to speak of",
        "Luo et al. 2018, arXiv:1806.10779, figure 1",
    ),
    DiagnosticFacts(
        "group_sizes",
        "how many channels share their statistics under learned meta normalization",
        "each epoch",
        "group_size/SITE",
        "nothing to speak of",
        "Zhang et al. 2019, arXiv:1908.05867",
    ),
    DiagnosticFacts(
        "landscape",
        "range of the loss, change of the gradient and beta-smoothness along the gradient",
        "each epoch",
        "landscape/(loss_low|loss_high|loss_range|change_low|change_high|relative_change|beta)",
        "six forward and backward passes over one update's samples",
        "Santurkar et al. 2018, arXiv:1805.11604, figure 4",
    ),
    DiagnosticFacts(
        "batch_statistics",
        "variance of batch means and deviations against their Gaussian priors, with the effective "
        "number of samples in feature maps",
        "each epoch",
        "batch_statistics/(SITE|all)/"
        "(mean_ratio|std_ratio|effective_share|mean_exponent|std_exponent)",
        "one forward pass over up to 64 batches",
        "Teye et al. 2018, arXiv:1802.06455",
    ),
    DiagnosticFacts(
        "regularization",
        "rise of the loss by the noise of batch statistics at several batch sizes M, and its line "
        "against 1 / M",
        "at the end",
        "regularization/(rise_M|slope|intercept|fit|exponent)",
        "nine forward passes over 512 test samples, in batches of 4 to 32 and all at once",
        "Luo et al. 2019, arXiv:1809.00846",
    ),
    DiagnosticFacts(
        "gradient_bias",
        "error in direction and length of the average gradient over batches against the gradient "
        "of all samples at once",
        "at the end",
        "gradient_bias/(cosine|norm_ratio|relative_error)",
        "three forward and backward passes over 256 test samples, one with all at once",
        "Chiley et al. 2019, arXiv:1905.05894",
    ),
    DiagnosticFacts(
        "weight_norms",
        "norm of every channel's weights, for another job's optimizer.norms_of",
        "each epoch",
        "one record per epoch: the norms of each layer",
        "one pass over the weights",
        "Hoffer et al. 2018, arXiv:1803.01814, equation 4",
    ),
    DiagnosticFacts(
        "ablation",
        "accuracy while more and more random channels are clamped, to zero and to their mean",
        "at the end",
        "ablation/(zero|mean)/area, and the curves as a record",
        "60 forward passes over 512 test samples",
        "Morcos et al. 2018, arXiv:1803.06959",
    ),
)
DIAGNOSTICS: Registry[DiagnosticFacts] = Registry(
    registries.DIAGNOSTICS, {facts.name: facts for facts in _ALL}
)


_PLACE = re.compile(r"\(SITE\|all\)|SITE|LAYER")
_IN_WORDS = re.compile(r"[,:] ")  # "..., and the curves as a record"


class MetricMeaning(NamedTuple):
    """
    The parts of a metric's name.

    Attributes:
        diagnostic: the diagnostic that reported it.
        measure: its name without group and layer, such as `norm/channel_mean`; empty where the
            diagnostic has one measure.
        site: the layer's name in the model; empty for the whole network.
    """

    diagnostic: str
    measure: str
    site: str


def measured(metric: str) -> Optional[MetricMeaning]:
    """Return the parts of *metric*; None if none of normlab's own diagnostics reports it."""
    for diagnostic, pattern in _patterns():
        found = pattern.fullmatch(metric)
        if found is not None:
            parts = found.groupdict()
            return MetricMeaning(diagnostic, parts["measure"] or "", parts.get("site") or "")
    return None


@lru_cache(1)
def _patterns() -> List[Tuple[str, Pattern[str]]]:
    own = DIAGNOSTICS.own.values()
    return [(facts.name, _pattern(facts.metrics)) for facts in own if "/" in facts.metrics]


def _pattern(metrics: str) -> Pattern[str]:
    """Return the regular expression for names such as `power/SITE/(norm|out)/total`."""
    name = _IN_WORDS.split(metrics)[0]
    group, _, rest = name.partition("/")
    place, _, measure = rest.partition("/")
    if not _PLACE.fullmatch(place):
        return re.compile(rf"{group}/(?P<measure>{_sized(rest)})")
    below = f"/(?P<measure>{measure})" if measure else "(?P<measure>)"
    return re.compile(rf"{group}/(?P<site>[^/]+){below}")


def _sized(measure: str) -> str:
    return measure.replace("rise_M", r"rise_\d+")
