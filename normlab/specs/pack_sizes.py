"""The best size of a pack: by the cost of what it does once for all members, or by its measure."""

from __future__ import annotations

from collections import Counter
from typing import Literal, Mapping, Optional, Sequence, Union

from normlab.errors import FieldProblem
from normlab.specs.costs import cost, lean_call_s, least_memory_bytes, parallel_share
from normlab.specs.jobs import JobSpec
from normlab.specs.models import MODELS

MOST = 64
PackSize = Union[Literal["auto", "off"], int]
Gains = Mapping[int, float]
"""The measured gains of packs of such jobs on the device, by the number of members."""
_MOST_BY_ITSELF = 16
_UNMEASURED = 16  # the number of members of the first pack, which measures its gain
_SHARED = 0.35  # of the calls, with normalizers that members run in turns
# The extra cost of a pack for each further layer at the same place, and for having several layers.
_LAYER_CALLS, _LAYER_SAMPLES = 0.35, 1.35
_DOUBLING = 1.1  # the gain that more members, or those of other layers, must bring
WORTH = 1.25
_MEMORY_BYTES = 2**28  # kept for backward; above it, caches and not calls are the limit


def expected_gain(spec: JobSpec, members: int, layers: int = 1) -> Optional[float]:
    """
    Return how many times as fast *members* such runs are as one pack; None if it is unknown.

    The calls of operators are made once for all, and samples and weights cost what they cost; calls
    of a job alone are cheaper where its convolutions are lean. Compared with updates of
    `preresnet8` on one core (`make bench-packs`), it is within a quarter, and too low if members
    have equal optimizers and schedules.

    Args:
        layers: how many layers share each place of a normalizer, because their numbers differ.
    """
    found = cost(spec)
    if found is None:
        return None
    shared = _SHARED if spec.normalizer.packed_by_member else 1.0
    own_call_s = (1 - shared) * found.call_s
    samples_s = spec.batch_size * found.sample_s
    # the calls of a pack, and what each member adds to them
    calls_s = shared * found.call_s * (1 + _LAYER_CALLS * (layers - 1))
    member_s = own_call_s + samples_s * (1.0 if layers == 1 else _LAYER_SAMPLES)
    parts = spec.gradient_accumulation
    alone_s = (found.call_s + samples_s - lean_call_s(spec)) * parts + found.update_s
    pack_s = (calls_s + members * member_s) * parts + members * found.update_s
    return MODELS[spec.model.name].pack_gain * members * alone_s / pack_s


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
    """Return how many such runs fit into the memory, by their minimum need."""
    least = least_memory_bytes(spec)
    return MOST if memory_bytes is None or least == 0 else max(1, memory_bytes // least)


def members_now(spec: JobSpec, most: int, layers: Sequence[str], slots: int) -> int:
    """
    Return the size of the next pack of such runs, so that *slots* end all of them soonest.

    Args:
        layers: those of the waiting runs (`packs.layer_of`), in the order in which they join.
    """
    waiting = len(layers)

    def rounds(members: int) -> float:
        packs = -(-waiting // members)
        return -(-packs // slots) * members / _gain(spec, members, len(set(layers[:members])))

    return min(range(1, min(most, waiting) + 1), key=rounds)


def mixing_gains(spec: JobSpec, most: int, layers: Sequence[str]) -> bool:
    """Return whether such runs end sooner if those of unlike *layers* train in one pack too."""
    apart = [[layer] * count for layer, count in Counter(layers).items()]
    mixed = [layer for of_one in apart for layer in of_one]
    return _time(spec, most, mixed) < sum(_time(spec, most, of_one) for of_one in apart)


def _time(spec: JobSpec, most: int, layers: Sequence[str]) -> float:
    """Return the time of packs of *most* members, in times of a run alone."""
    packs = (layers[i : i + most] for i in range(0, len(layers), most))
    sizes = Counter((len(pack), len(set(pack))) for pack in packs)  # in a large study, few differ
    return sum(count * size[0] / _gain(spec, *size) for size, count in sizes.items())


def _gain(spec: JobSpec, members: int, layers: int) -> float:
    if members == 1:
        return 1.0
    gain = expected_gain(spec, members, layers) or 1.0
    return gain if layers == 1 else gain / _DOUBLING


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
    """Return whether `auto` never packs such jobs, however much they would gain."""
    # a time limit is that of a job alone; members share only data in memory
    return spec.time_limit_s is not None or _may_be_streamed(spec)


def _may_be_streamed(spec: JobSpec) -> bool:
    facts = spec.dataset.facts()
    return spec.loading.mode == "auto" and (facts is None or facts.streams)


def members_by_measure(
    spec: JobSpec, asked: PackSize, memory_bytes: Optional[int], gains: Gains
) -> int:
    """
    Return the largest number of such runs for one pack; 1 if each should run alone.

    `auto` takes the size that gained most, or twice as many if that was the largest; if nothing was
    measured yet, it takes as many as the memory allows.

    Args:
        memory_bytes: the device's memory; a pack that needs more is made smaller.
    """
    if asked == "off":
        return 1
    room = room_for(spec, memory_bytes)
    if asked == "auto":
        asked = 1 if is_left_alone(spec) else _most_by_measure(gains, min(_UNMEASURED, room))
    return min(room, asked)


def _most_by_measure(gains: Gains, first: int) -> int:
    if not gains:
        return first
    best = max(sorted(gains), key=lambda members: gains[members])
    if gains[best] < WORTH:
        return 1 if max(gains) >= first else first  # the gain of a few says nothing about many
    return min(MOST, 2 * best) if best == max(gains) else best


def evenly(most: int, waiting: int, slots: int) -> int:
    """Return how many of *waiting* such runs form the next pack, so that all *slots* have some."""
    return max(1, min(most, -(-waiting // slots)))
