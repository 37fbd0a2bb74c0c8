"""The rules for dividing weights, gradients and optimizer state of a job among its replicas."""

from __future__ import annotations

from typing import Iterator

from normlab.errors import FieldProblem
from normlab.specs.jobs import JobSpec

FIELD = "sharding"
LEAST_TORCH = (2, 6)
"""The first release of torch with `torch.distributed.fsdp.fully_shard`."""
_EAGER = ("none", "kernels", "triton")
_OFF = "set sharding to 'off'"
_WAY_OUT = f"leave it out, or {_OFF}"


def obstacles(spec: JobSpec) -> Iterator[FieldProblem]:
    """List why the replicas of *spec* cannot divide a model among them."""
    if spec.replicas == 1:
        rule = "'full' divides a model among replicas, and there is one; raise replicas"
        yield FieldProblem(FIELD, rule)
    if spec.acceleration not in _EAGER:
        rule = f"{spec.acceleration!r} records a whole model, and sharding divides it"
        yield FieldProblem("acceleration", f"{rule}; {_WAY_OUT}")
    if spec.precision == "float16":
        rule = "each replica would scale the gradients of its part by a scale of its own"
        yield FieldProblem("precision", f"{rule}; use bfloat16, or {_OFF}")
    refusal = spec.normalizer.shard_refusal
    if refusal is not None:
        yield spec.normalizer.problem_of_kind(f"cannot be sharded: {refusal}; {_OFF}")
    for field in ("diagnostics", "hooks"):
        if getattr(spec, field):
            rule = "look at whole weights, and with sharding no replica has them"
            yield FieldProblem(field, f"{rule}; {_WAY_OUT}")


def share_of(spec: JobSpec, memory_bytes: int) -> int:
    """Return the least memory of a replica, if the whole job needs *memory_bytes*."""
    whole = spec.sharding == "off" or any(True for _ in obstacles(spec))
    return memory_bytes if whole else memory_bytes // spec.replicas


def has_engine(torch_version: str) -> bool:
    """Return whether the torch of *torch_version* can divide a model among replicas."""
    found = torch_version.partition("+")[0].split(".")[:2]
    return tuple(int(part) for part in found if part.isdigit()) >= LEAST_TORCH
