"""A lower bound on the memory of a training, from its specification alone. Needs no torch."""

from __future__ import annotations

from normlab.specs.jobs import JobSpec
from normlab.specs.models import MODELS
from normlab.specs.sizes import image_size


def least_memory_bytes(spec: JobSpec) -> int:
    """
    Return bytes that each training process of *spec* must hold at once; it will hold more.

    The backward pass needs what went into each normalizer: the sum over these of N C H W values,
    N being `batch_size`, of 4 bytes, or 2 at half precision. 0 where nothing is trained or known.
    """
    facts, side = MODELS.get(spec.model.name), image_size(spec)
    if facts is None or side is None or spec.epochs == 0:
        return 0
    sites = facts.sites(spec.model.width, side)
    values = spec.batch_size * sum(site.channels * site.side**2 for site in sites)
    return values * (4 if spec.precision == "float32" else 2)
