"""The rules of an IPU for a job's specification, besides those in the table of devices."""

from __future__ import annotations

from typing import Iterator, List

from normlab.errors import FieldProblem
from normlab.specs.devices import those
from normlab.specs.jobs import JobSpec
from normlab.specs.optimizers import OPTIMIZERS, RMSprop

MOST_IPUS = 64  # the most IPUs that one process may use
_OTHERS = those(lambda facts: not facts.traced)


def problems(spec: JobSpec) -> List[FieldProblem]:
    """List the reasons for an IPU to refuse *spec* with any model."""
    return list(_problems(spec))


def _problems(spec: JobSpec) -> Iterator[FieldProblem]:
    yield from spec.normalizer.problems_on_ipu()
    if spec.replicas & (spec.replicas - 1) or spec.replicas > MOST_IPUS:
        rule = f"{spec.replicas} IPUs: use a power of two, at most {MOST_IPUS} for a process"
        yield FieldProblem("replicas", rule)
    if spec.ipu_runtime == "ipu_model" and spec.replicas > 1:
        rule = (
            f"{spec.replicas} on Graphcore's IPU Model, which has one; use ipu_runtime 'emulated'"
        )
        yield FieldProblem("replicas", rule)
    if isinstance(spec.optimizer, RMSprop) and spec.optimizer.clip_norm is not None:
        rule = "PopTorch's RMSprop does not clip; use sgd or adamw, or leave clip_norm out"
        yield FieldProblem("optimizer.clip_norm", rule)
    yield from _of_optimizer(spec)
    if spec.freeze:
        rule = "a compiled update moves every parameter"
        yield FieldProblem("freeze", f"{rule}; leave it out or use {_OTHERS}")
    if spec.diagnostics:
        rule = "read the model while it runs, and a compiled model cannot be read"
        yield FieldProblem("diagnostics", f"{rule}; leave them out or use {_OTHERS}")


def _of_optimizer(spec: JobSpec) -> Iterator[FieldProblem]:
    if not spec.optimizer.compiled:
        known = ", ".join(name for name, kind in OPTIMIZERS.items() if kind.compiled)
        rule = f"an IPU updates weights in its program, and {spec.optimizer.name!r} is not"
        yield FieldProblem("optimizer.name", f"{rule} among PopTorch's forms here; use {known}")
    for field in ("clip_ratio", "clip_value"):
        if getattr(spec.optimizer, field) is not None:
            rule = "PopTorch clips only by the norm of the whole gradient; use clip_norm"
            yield FieldProblem(f"optimizer.{field}", rule)
    if spec.ema is not None:
        rule = "the weights live in a compiled program, and no average of them is kept there"
        yield FieldProblem("ema", f"{rule}; leave it out or use {_OTHERS}")
    for field in ("dropout", "stochastic_depth"):
        if getattr(spec.model, field):
            rule = "the device's random state is in no checkpoint, so a resumed job would drop"
            yield FieldProblem(f"model.{field}", f"{rule} others; leave it out or use {_OTHERS}")


def problems_in_packs(spec: JobSpec) -> List[FieldProblem]:
    """List the reasons why *spec* cannot be in a pack on an IPU, although it can run alone."""
    found = []
    if spec.ipu_runtime != "emulated":
        rule = f"packs have never run on PopTorch ({spec.ipu_runtime!r}); use 'emulated'"
        found.append(FieldProblem("ipu_runtime", rule))
    if spec.optimizer.clip_norm is not None:
        rule = "PopTorch would clip the gradient of the whole program, with all members"
        found.append(FieldProblem("optimizer.clip_norm", rule))
    return found
