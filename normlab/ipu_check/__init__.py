"""
Check whether an IPU can probably train a job: first its spec by rules, then its model's operators.

`rules` reads the spec and needs no torch; `trace` runs the model once on tensors without data.
Neither needs Graphcore's SDK. A model that passes may still fail later, because only the real
compiler knows the limits of attributes, the memory, and whether the model compiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

POPTORCH_VERSION = "3.4"
POPTORCH_TORCH = "2.0.1"  # the torch for which PopTorch 3.3 and 3.4 are built


@dataclass(frozen=True)
class OpCheck:
    """The problems that the check found; without any, the model passes the op check."""

    problems: Tuple[str, ...]
    ops: Tuple[str, ...]
    torch: str

    @property
    def passes(self) -> bool:
        """Return whether no problem was found."""
        return not self.problems

    @property
    def message(self) -> str:
        """Return the result as one sentence."""
        torch = f"checked with torch {self.torch}"
        if not self.torch.startswith(POPTORCH_TORCH):
            torch += f"; PopTorch is built to torch {POPTORCH_TORCH}"
        if self.passes:
            return f"passes the op check of PopTorch {POPTORCH_VERSION} ({torch})"
        return f"an IPU cannot take this model: {'; '.join(self.problems)} ({torch})"
