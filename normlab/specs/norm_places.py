"""The places of the normalizers in a job's network, if they are known without building it."""

from __future__ import annotations

from typing import List, Optional

from normlab.specs.jobs import JobSpec
from normlab.specs.model_facts import ModelFacts, NormPlace, SampleSize
from normlab.specs.models import MODELS
from normlab.specs.sizes import image_size
from normlab.specs.under_code import under_its_code


@under_its_code
def places(spec: JobSpec) -> Optional[List[NormPlace]]:
    """
    List the normalizers of *spec*'s network in the order in which a sample meets them.

    None if only building it can tell: a user's own network was built, to find them, with
    its default options and for some sizes of samples; others are not guessed from these.
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
    """Return the sizes for which *spec*'s network is built; None if only files tell."""
    facts, side = spec.dataset.facts(), image_size(spec)
    if facts is None or side is None or facts.channels is None or facts.num_classes is None:
        return None
    return SampleSize(facts.channels, facts.num_classes, side)


def _by_default(facts: ModelFacts, spec: JobSpec) -> bool:
    required = [f for f in facts.options.model_fields.values() if f.is_required()]
    return not required and spec.model.options == facts.options().model_dump(mode="json")
