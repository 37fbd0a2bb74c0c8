"""The rules of devices about jobs."""

from __future__ import annotations

from typing import Iterator, List, Optional

from normlab.errors import FieldProblem
from normlab.specs.devices import DEVICES, DeviceFacts, either, those
from normlab.specs.jobs import JobSpec
from normlab.specs.registries import named_object


def problems(spec: JobSpec, kind: str) -> List[FieldProblem]:
    """List why a device of *kind* would refuse *spec*; empty if *spec* alone gives no reason."""
    facts = DEVICES[kind]
    return [*_problems(spec, facts), *further(facts.rules, spec)]


def further(rules: Optional[str], spec: JobSpec) -> List[FieldProblem]:
    """List the problems that the module:function *rules* finds; none if there are no such rules."""
    return [] if rules is None else list(named_object(rules)(spec))


def takers(spec: JobSpec) -> List[str]:
    """List the kinds of device that *spec* alone does not rule out."""
    return [kind for kind in DEVICES if not problems(spec, kind)]


def _problems(spec: JobSpec, facts: DeviceFacts) -> Iterator[FieldProblem]:
    if spec.precision not in facts.precisions:
        able = those(lambda other: spec.precision in other.precisions)
        offered = either(facts.precisions)
        rule = f"{spec.precision} is for {able}, not for {facts.kind}; there, use {offered}"
        yield FieldProblem("precision", rule)
    if spec.acceleration not in ("none", *facts.accelerations):
        able = those(lambda other: spec.acceleration in other.accelerations)
        offered = either(("none", *facts.accelerations))
        rule = f"{spec.acceleration!r} is for {able}, not for {facts.kind}; there, use {offered}"
        yield FieldProblem("acceleration", rule)
    if spec.tf32 and not facts.rounds_to_tf32:
        able = those(lambda other: other.rounds_to_tf32)
        yield FieldProblem("tf32", f"is for {able}, not for {facts.kind}; leave it out")
    if spec.ipu_runtime != "hardware" and not facts.simulated:
        able = those(lambda other: other.simulated)
        rule = f"{spec.ipu_runtime!r} is for {able}, not for {facts.kind}; leave it out"
        yield FieldProblem("ipu_runtime", rule)
    if (spec.hosts or 1) > 1 and facts.collectives is None:
        able = those(lambda other: other.collectives is not None)
        rule = f"one process holds all replicas of an {facts.title}; use {able}, or leave it out"
        yield FieldProblem("hosts", rule)
    if spec.sharding == "full" and facts.collectives is None:
        able = those(lambda other: other.collectives is not None)
        rule = f"one process holds all replicas of an {facts.title}; use {able}, or leave it out"
        yield FieldProblem("sharding", rule)
    if spec.optimizer.norms_of is not None and not facts.steers_weights:
        able = those(lambda other: other.steers_weights)
        rule = f"weights are steered on the host, which {facts.kind} does not allow; use {able}"
        yield FieldProblem("optimizer.norms_of", rule)
    if spec.hooks and not facts.steers_weights:
        able = those(lambda other: other.steers_weights)
        rule = f"hooks see the weights on the host, which {facts.kind} does not allow; use {able}"
        yield FieldProblem("hooks", rule)
