"""The reasons why cells of a study train alone or in separate packs, for its preview."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from normlab.errors import FieldProblem
from normlab.records.studies import PackObstacle
from normlab.specs.jobs import JobSpec
from normlab.specs.pack_sizes import PackSize, reason_for_one
from normlab.specs.packs import fields_apart, obstacle

_MOST = 5  # the most obstacles; a study has as many as it has axes
_OTHERS = 100  # the most groups that one is compared with
_SHARED = "members of a pack need the same value"
_NUMBER = (
    f"{_SHARED} here, because a layer for each value would gain too little; unless `pack` is a "
    "number"
)


@dataclass(frozen=True)
class PackGroup:
    """Jobs that can be members of the same packs, and the kind of device that was chosen."""

    device: str
    jobs: list[JobSpec] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    """For each job, a key that is equal for members whose normalizers form one layer."""

    def add(self, job: JobSpec, layer: str) -> None:
        """Add a job."""
        self.jobs.append(job)
        self.layers.append(layer)

    def by_layer(self) -> list[PackGroup]:
        """Return the jobs as groups of equal layers."""
        found: dict[str, PackGroup] = {}
        for job, layer in zip(self.jobs, self.layers, strict=True):
            found.setdefault(layer, PackGroup(self.device)).add(job, layer)
        return list(found.values())


def obstacles(
    pack: PackSize,
    groups: Sequence[PackGroup],
    most: Sequence[int],
    others: Sequence[tuple[JobSpec, str | None]],
) -> list[PackObstacle]:
    """
    Return the obstacles; those that affect most cells come first.

    Args:
        groups: jobs that can be members of the same packs.
        most: the most members that a pack of each group has.
        others: jobs that cannot be in any pack, with their kinds of device.
    """
    counted: Counter[tuple[str, str, bool]] = Counter()
    for problem in filter(None, (obstacle([spec], device) for spec, device in others)):
        counted[problem.field, problem.rule, True] += 1
    every = [group.jobs for group in groups]
    for jobs, members in zip(every, most, strict=True):
        reason = _of_group(pack, jobs, members, every)
        if reason is not None:
            alone = members < 2 or len(jobs) == 1
            counted[reason.field, reason.rule, alone] += len(jobs)
    return [
        PackObstacle(field=field, rule=rule, alone=alone, cells=cells)
        for (field, rule, alone), cells in counted.most_common(_MOST)
    ]


def _of_group(
    pack: PackSize,
    group: Sequence[JobSpec],
    members: int,
    groups: Sequence[Sequence[JobSpec]],
) -> FieldProblem | None:
    if members < 2:
        return reason_for_one(group[0])
    near = _nearest(group[0], groups)
    numbers = [field for field in near if field.startswith("normalizer.") and pack == "auto"]
    if not near or (len(group) > 1 and numbers != near):
        return None
    return FieldProblem(", ".join(near), _NUMBER if numbers == near else _SHARED)


def _nearest(spec: JobSpec, groups: Sequence[Sequence[JobSpec]]) -> list[str]:
    """Return the fields in which *spec* differs from the most similar group."""
    apart = (fields_apart(spec, other[0]) for other in groups[:_OTHERS])
    return min((fields for fields in apart if fields), key=len, default=[])
