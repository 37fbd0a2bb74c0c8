"""
The time of a job on one CPU core, from its specification: a model fitted to measured runs.

An update has a cost for its weights, a cost for each call of the network (a micro-batch:
a part for each site of a normalizer, more if the kind is computed in Python), and a cost
for each sample (its products, and its elements, which Python kinds pass over more often). The
figures are a least squares fit of the logarithms to trainings of eleven networks with batches of 1
to 128 on a 2-core x86 host with torch 2.13; `tests/normlab/specs/recorded_updates.json` has them.
It is meant for ratios between jobs: if jobs have finished, their times set its scale.
"""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Tuple

from normlab.specs.jobs import JobSpec, under_its_code
from normlab.specs.model_facts import NormPlace
from normlab.specs.models import MODELS
from normlab.specs.sizes import image_size, steps_per_epoch, train_size

START_S = 0.5  # a process from a warm host, its data and its first update
_CALL_S = 0.5e-3
_PLACE_S = 0.36e-3
_PYTHON_PLACE_S = 0.79e-3
_LEAN_PLACE_S = 0.22e-3  # the saving per place if its convolution runs without oneDNN
FEW_PRODUCTS = (
    0.75e6  # limit for such a convolution; at 1.5e6 both are equally fast if it is narrow
)
_PRODUCT_S = 0.04e-9  # one multiplication of a 3x3 convolution, forward and backward
_ELEMENT_S = 14e-9
_PYTHON_ELEMENT_S = 10e-9
_WEIGHT_S = 2e-9
HEAVY_S = 0.05  # time of a micro-batch on one core
_FORWARD = 1 / 3  # the share of a sample's time that evaluation needs
_KERNEL = 9  # weights of a 3x3 convolution per pair of channels


class Cost(NamedTuple):
    """The cost of an update in seconds: once, per micro-batch, and per sample."""

    update_s: float
    call_s: float
    sample_s: float


@under_its_code
def cost(spec: JobSpec) -> Optional[Cost]:
    """
    Return the cost of *spec*'s updates; None for an unknown network or image size.

    A network from a plugin is unknown: anything may be between its normalizers.
    """
    facts, side = MODELS.get(spec.model.name), image_size(spec)
    if facts is None or facts.sites_of is None or side is None:
        return None
    sites = facts.sites(spec.model.width, side)
    python = not spec.normalizer.native or getattr(spec.normalizer, "proxy", False)
    place_s = _PLACE_S + (_PYTHON_PLACE_S if python else 0.0)
    element_s = _ELEMENT_S + (_PYTHON_ELEMENT_S if python else 0.0)
    products, elements, weights = _sizes(sites)
    return Cost(
        update_s=weights * _WEIGHT_S * facts.cost,
        call_s=(_CALL_S + len(sites) * place_s) * facts.cost,
        sample_s=(products * _PRODUCT_S + elements * element_s) * facts.cost,
    )


def lean_call_s(spec: JobSpec) -> float:
    """
    Return how much a job alone on a CPU saves per call, because its small convolutions are lean.

    The convolutions of a pack have groups, and torch has no lean form for these.
    """
    products = convolution_products(spec)
    if products is None or products > FEW_PRODUCTS or spec.precision != "float32":
        return 0.0
    facts, side = MODELS[spec.model.name], image_size(spec)
    places = 0 if side is None else len(facts.sites(spec.model.width, side))
    return places * _LEAN_PLACE_S * facts.cost


def update_s(spec: JobSpec) -> Optional[float]:
    """
    Return the seconds of one update of *spec*.

    The micro-batches of an update run one after another; replicas share the core.
    """
    found = cost(spec)
    if found is None:
        return None
    calls = spec.gradient_accumulation * spec.replicas
    return found.update_s + calls * found.call_s + spec.samples_per_update * found.sample_s


def parallel_share(spec: JobSpec) -> Optional[float]:
    """
    Return the share of a micro-batch's time that its samples take, which threads divide.

    None for an unknown network, and for light updates: these lose more time by waking threads than
    they gain (on two cores, updates of 11 and 16 ms took 1.9 and 1.5 times as long with two).
    """
    found = cost(spec)
    if found is None:
        return None
    samples_s = spec.batch_size * found.sample_s
    whole_s = samples_s + found.call_s + found.update_s
    return samples_s / whole_s if whole_s >= HEAVY_S else None


@under_its_code
def convolution_products(spec: JobSpec) -> Optional[float]:
    """
    Return the multiplications of one convolution's forward for a micro-batch, on average.

    None for an unknown network or image size, as with `cost`.
    """
    facts, side = MODELS.get(spec.model.name), image_size(spec)
    sites = [] if facts is None or side is None else facts.sites(spec.model.width, side)
    return spec.batch_size * _sizes(sites)[0] / len(sites) if sites else None


@under_its_code
def job_s(spec: JobSpec, steps: Optional[int]) -> Optional[float]:
    """
    Return the seconds of a job with *steps* updates, including its start and evaluations.

    None if the network, the size of the images or the number of updates is unknown.
    """
    found, each = cost(spec), update_s(spec)
    if steps is None or found is None or each is None:
        return None
    evaluated = _evaluations(spec, steps) * (_test_size(spec) or 0)
    return START_S + steps * each + evaluated * found.sample_s * _FORWARD


def _sizes(sites: List[NormPlace]) -> Tuple[float, float, float]:
    products = sum(_KERNEL * site.channels**2 * site.side**2 for site in sites)
    elements = sum(site.channels * site.side**2 for site in sites)
    weights = sum(_KERNEL * site.channels**2 for site in sites)
    return products, elements, weights


def _evaluations(spec: JobSpec, steps: int) -> int:
    per_epoch = steps_per_epoch(spec, train_size(spec))
    epochs = spec.epochs if not per_epoch else min(spec.epochs, -(-steps // per_epoch))
    return -(-epochs // spec.evaluate_every)


def _test_size(spec: JobSpec) -> Optional[int]:
    facts = spec.dataset.facts()
    known = facts.test_size if facts else None
    asked = spec.dataset.test_size
    return asked if known is None else min(known, asked or known)


@under_its_code
def least_memory_bytes(spec: JobSpec) -> int:
    """
    Return bytes that each training process of *spec* must hold at once; it will hold more.

    The backward pass needs what went into each normalizer: the sum over these of N C H W values,
    N being `batch_size`, of 4 bytes, or 2 in half precision. 0 if it is unknown, or for no epochs.
    """
    facts, side = MODELS.get(spec.model.name), image_size(spec)
    if facts is None or facts.sites_of is None or side is None or spec.epochs == 0:
        return 0
    sites = facts.sites(spec.model.width, side)
    values = spec.batch_size * sum(site.channels * site.side**2 for site in sites)
    return values * (4 if spec.precision == "float32" else 2)
