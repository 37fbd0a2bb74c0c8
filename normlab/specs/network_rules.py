"""The rules about a job's network, and the places of the normalizers in it."""

from __future__ import annotations

from typing import Iterator, List, Optional, Tuple, Union

from normlab.errors import FieldProblem
from normlab.specs.dataset_facts import DatasetFacts
from normlab.specs.jobs import JobSpec, under_its_code
from normlab.specs.model_facts import ModelFacts, NormPlace, SampleSize
from normlab.specs.models import MODELS
from normlab.specs.normalizers import check_channels
from normlab.specs.sizes import image_size


def _known(spec: JobSpec) -> Union[Tuple[ModelFacts, DatasetFacts, int], None]:
    model, dataset = MODELS.get(spec.model.name), spec.dataset.facts()
    side = image_size(spec)
    if model is None or dataset is None or side is None or not model.does(dataset.task):
        return None
    return model, dataset, side


def network(spec: JobSpec) -> Iterator[FieldProblem]:
    """List why the network cannot be built as *spec* asks for it."""
    known = _known(spec)
    if known is None:
        return
    model, _, side = known
    unfit = why_unfit(spec)
    if unfit is not None:
        yield FieldProblem("model.name", f"{model.name} and {spec.dataset.name}: {unfit}")
        return
    if spec.model.width is not None and model.default_width is None:
        rule = f"{model.name} has no width; see its options, or leave it out"
        yield FieldProblem("model.width", rule)
    if side < model.min_image_size:
        rule = f"{model.name} needs images of {model.min_image_size} pixels, not {side}"
        yield FieldProblem("model.name", rule)
        return
    norm = spec.normalizer
    if spec.model.zero_last_scale and not model.norm_ends_branch:
        rule = f"no residual branch of {model.name} ends with a normalizer; use it with a resnet"
        yield FieldProblem("model.zero_last_scale", rule)
    elif spec.model.zero_last_scale and not getattr(norm, "affine", False):
        rule = f"normalizer {norm.kind!r} has no scale here; leave it out, or set affine to true"
        yield FieldProblem("model.zero_last_scale", rule)
    # Widths double from stage to stage: what fits the narrowest layer fits the others.
    channels = [place.channels for place in places(spec) or ()]
    yield from check_channels(spec.normalizer, channels)[:1]


def recurrence(spec: JobSpec) -> Iterator[FieldProblem]:
    """List why the normalizer cannot be where the network has its normalizers."""
    model = MODELS.get(spec.model.name)
    if model is not None and model.recurrent:
        yield from filter(None, [spec.normalizer.problem_in_recurrence()])
    elif model is not None and model.package is not None:
        yield from _foresight(spec)


def _foresight(spec: JobSpec) -> Iterator[FieldProblem]:
    dataset, norm = spec.dataset.facts(), spec.normalizer
    reads = dataset is not None and dataset.task == "language"
    if reads and not norm.within_token and norm.layer is not None:
        rule = "lets the tokens of a sample see each other, so also the ones to be predicted"
        yield norm.problem_of_kind(f"{rule}; use 'layer', 'rms', 'dyt' or 'none'")


def statistics(spec: JobSpec) -> Iterator[FieldProblem]:
    """List why a statistic of the smallest layer would be over too few values."""
    known = _known(spec)
    if known is None or known[2] < known[0].min_image_size:
        return
    sides = [place.side for place in places(spec) or ()]
    if not sides:
        return
    side = min(sides)
    samples = getattr(spec.normalizer, "virtual_batch_size", None) or spec.batch_size
    problem = spec.normalizer.problem_with_values(samples, side)
    if problem is not None:
        yield FieldProblem(problem.field, f"{problem.rule} ({spec.model.name})")


@under_its_code
def places(spec: JobSpec) -> Optional[List[NormPlace]]:
    """
    List the normalizers of *spec*'s network in the order in which a sample meets them.

    None if only building the network can show them. A user's own network was built with its default
    options and for some sizes of samples to find them; nothing is guessed for others.
    """
    facts, side = MODELS.get(spec.model.name), image_size(spec)
    if facts is None or side is None:
        return None
    if facts.sites_of is not None:
        return facts.sites(spec.model.width, side)
    size = sample_size(spec)
    if size is None or not _by_default(facts, spec):
        return None
    found = facts.recorded.get(size)
    return None if found is None else list(found)


@under_its_code
def why_unfit(spec: JobSpec) -> Optional[str]:
    """Return why *spec*'s network cannot take its samples; None if no reason is known."""
    facts, size = MODELS.get(spec.model.name), sample_size(spec)
    if facts is None or size is None or not _by_default(facts, spec):
        return None
    return facts.unfit.get(size)


@under_its_code
def sample_size(spec: JobSpec) -> Optional[SampleSize]:
    """Return the sizes for which *spec*'s network is built; None if only files determine them."""
    facts, side = spec.dataset.facts(), image_size(spec)
    if facts is None or side is None or facts.channels is None or facts.num_classes is None:
        return None
    return SampleSize(facts.channels, facts.num_classes, side)


def _by_default(facts: ModelFacts, spec: JobSpec) -> bool:
    required = [f for f in facts.options.model_fields.values() if f.is_required()]
    return not required and spec.model.options == facts.options().model_dump(mode="json")
