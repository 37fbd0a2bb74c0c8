"""The rules of an IPU for a job's specification, besides those in the table of devices."""

from __future__ import annotations

from typing import Iterator, List

from normlab.errors import FieldProblem
from normlab.specs.jobs import JobSpec
from normlab.specs.optimization import RMSprop

MOST_IPUS = 64  # that one process may use


def problems(spec: JobSpec) -> List[FieldProblem]:
    """List why an IPU would refuse *spec* with any model."""
    return list(_problems(spec))


def _problems(spec: JobSpec) -> Iterator[FieldProblem]:
    yield from spec.normalizer.problems_on_ipu()
    if spec.replicas & (spec.replicas - 1) or spec.replicas > MOST_IPUS:
        rule = f"{spec.replicas} IPUs: a process takes a power of two up to {MOST_IPUS}"
        yield FieldProblem("replicas", rule)
    if spec.ipu_runtime == "ipu_model" and spec.replicas > 1:
        rule = (
            f"{spec.replicas} on Graphcore's IPU Model, which has one; use ipu_runtime 'emulated'"
        )
        yield FieldProblem("replicas", rule)
    if isinstance(spec.optimizer, RMSprop) and spec.optimizer.clip_norm is not None:
        rule = "PopTorch's RMSprop does not clip; use sgd or adamw, or leave clip_norm out"
        yield FieldProblem("optimizer.clip_norm", rule)
    if spec.optimizer.clip_ratio is not None:
        rule = "PopTorch clips by the norm of the whole gradient alone; use clip_norm"
        yield FieldProblem("optimizer.clip_ratio", rule)
    if spec.freeze:
        rule = "a compiled update moves every parameter"
        yield FieldProblem("freeze", f"{rule}; leave it out or use cpu or cuda")
    if spec.diagnostics:
        rule = "look into the model while it runs, and a compiled model is closed"
        yield FieldProblem("diagnostics", f"{rule}; leave them out or use cpu or cuda")
