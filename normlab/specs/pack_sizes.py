"""The best size of a pack, from the cost of the work that a pack does once for all its members."""

from __future__ import annotations

from typing import Literal, Optional, Union

from normlab.errors import FieldProblem
from normlab.specs.costs import cost, lean_call_s, least_memory_bytes, parallel_share
from normlab.specs.jobs import JobSpec
from normlab.specs.models import MODELS

MOST = 64
PackSize = Union[Literal["auto", "off"], int]
_MOST_BY_ITSELF = 16
_SHARED = 0.35  # of the calls, with normalizers that the members pass in turns
_DOUBLING = 1.1  # the gain that more members must bring
WORTH = 1.25
_MEMORY_BYTES = 2**28  # kept for backward; above it, caches and not calls are the limit


def expected_gain(spec: JobSpec, members: int) -> Optional[float]:
    """
    Return how many times as fast *members* such runs are as one pack; None if it is unknown.

    The calls of operators are made once for all, and samples and weights cost what they cost; calls
    of a job alone are cheaper where its convolutions are lean. Held against updates of `preresnet8`
    on one core (`make bench-packs`), it is within a quarter, and below where members learn alike.
    """
    found = cost(spec)
    if found is None:
        return None
    shared = _SHARED if spec.normalizer.packed_by_member else 1.0
    own_call_s = (1 - shared) * found.call_s + spec.batch_size * found.sample_s
    own_s = own_call_s * spec.gradient_accumulation + found.update_s
    calls_s = shared * found.call_s * spec.gradient_accumulation
    alone_s = calls_s + own_s - lean_call_s(spec) * spec.gradient_accumulation
    return MODELS[spec.model.name].pack_gain * members * alone_s / (calls_s + members * own_s)


def members_of(spec: JobSpec, asked: PackSize, memory_bytes: Optional[int] = None) -> int:
    """
    Return the largest number of such runs for one pack; 1 if each should run alone.

    Args:
        memory_bytes: the memory of a process; a pack that needs more is made smaller.
    """
    if asked == "off":
        return 1
    most = _most_by_itself(spec) if asked == "auto" else asked
    return min(room_for(spec, memory_bytes), most)


def room_for(spec: JobSpec, memory_bytes: Optional[int]) -> int:
    """Return how many such runs fit into the memory, by the least that they need."""
    least = least_memory_bytes(spec)
    return MOST if memory_bytes is None or least == 0 else max(1, memory_bytes // least)


def members_now(spec: JobSpec, most: int, waiting: int, slots: int) -> int:
    """Return the size of the next pack of *waiting* such runs, so that *slots* end all soonest."""

    def rounds(members: int) -> float:
        packs = -(-waiting // members)
        gain = None if members == 1 else expected_gain(spec, members)
        return -(-packs // slots) * members / (gain or 1.0)

    return min(range(1, min(most, waiting) + 1), key=rounds)


def _most_by_itself(spec: JobSpec) -> int:
    if is_left_alone(spec):
        return 1
    members, gain = 1, 0.0  # two may gain nothing even if more do
    while members < _MOST_BY_ITSELF:
        more = expected_gain(spec, 2 * members)
        fits = 2 * members * least_memory_bytes(spec) <= _MEMORY_BYTES
        if more is None or not fits or more < _DOUBLING * gain:
            break
        members, gain = 2 * members, more
    by_threads = 1 / (1 - (parallel_share(spec) or 0.0))  # at best: a pack has one
    return members if gain >= WORTH * by_threads else 1


def reason_for_one(spec: JobSpec) -> FieldProblem:
    """Return the reason why `auto` lets jobs such as *spec* train alone."""
    if spec.time_limit_s is not None:
        return FieldProblem("time_limit_s", "the limit is meant for the time of one job alone")
    if _may_be_streamed(spec):
        return FieldProblem(
            "loading.mode", "the data may be streamed, and packs need them in memory; use 'memory'"
        )
    return FieldProblem(
        "pack", f"a pack of such jobs would not be {WORTH:g} times as fast as the jobs alone"
    )


def is_left_alone(spec: JobSpec) -> bool:
    """Return whether `auto` never packs such jobs, whatever they would gain."""
    # a time limit is that of a job alone; members share only data in memory
    return spec.time_limit_s is not None or _may_be_streamed(spec)


def _may_be_streamed(spec: JobSpec) -> bool:
    facts = spec.dataset.facts()
    return spec.loading.mode == "auto" and (facts is None or facts.streams)
