"""Answer one question: from a job's spec to the properties of its model."""

from __future__ import annotations

from typing import Any, Dict

from accelerators.inspection.memory import estimate
from normlab.ipu_check.jobs import check_job, meta_model
from normlab.specs.jobs import JobSpec


def inspect(spec: JobSpec) -> Dict[str, Any]:
    """Return parameters, estimated memory and the verdict for an IPU, as plain values."""
    check = check_job(spec)
    return {
        "parameters": sum(p.numel() for p in meta_model(spec).parameters()),
        "memory_bytes": estimate(spec),
        "ipu_passes": check.passes,
        "ipu_message": check.message,
    }
