"""What a paired difference leaves out: seeds that are NaN or infinite on one of its sides."""

from __future__ import annotations

from typing import Dict, Mapping, Protocol, Set

from normlab.not_finite import Name, counted
from normlab.records import ResultRow


class HasSeeds(Protocol):
    """Values by seed, with those that are not finite apart."""

    @property
    def values(self) -> Mapping[int, float]:
        """The finite ones."""

    @property
    def excluded(self) -> Mapping[int, Name]:
        """The names of the others."""


def excluded_of(a: HasSeeds, b: HasSeeds) -> Dict[int, Name]:
    """Return the seeds that both have and that are not finite in one of them; *a*'s value first."""
    shared = _seeds(a) & _seeds(b)
    found = {**b.excluded, **a.excluded}
    return {seed: found[seed] for seed in sorted(shared & set(found))}


def said(row: ResultRow, other: ResultRow) -> str:
    """Say which row has no difference from *other*, and why: `batch_size 2: 3 NaN`."""
    named = ", ".join(f"{path} {label}" for path, label in row.labels.items())
    return f"{named or 'all cells'}: {counted(excluded_of(row, other).values())}"


def _seeds(of: HasSeeds) -> Set[int]:
    return {*of.values, *of.excluded}
