"""
Whether an IPU can be expected to take a job: rules on its spec, then on what its model computes.

`rules` reads the spec and needs no torch; `trace` runs the model once on tensors without data.
Neither needs Graphcore's SDK, and neither promises more than "passes the op check": attribute
limits, memory and compilation are known to the real compiler alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

POPTORCH_VERSION = "3.4"
POPTORCH_TORCH = "2.0.1"  # the torch that PopTorch 3.3 and 3.4 are built to


@dataclass(frozen=True)
class OpCheck:
    """What the check found: no problems means that the model passes, and nothing more."""

    problems: Tuple[str, ...]
    ops: Tuple[str, ...]
    torch: str

    @property
    def passes(self) -> bool:
        """Whether nothing speaks against an IPU."""
        return not self.problems

    @property
    def message(self) -> str:
        """One sentence for people."""
        torch = f"checked with torch {self.torch}"
        if not self.torch.startswith(POPTORCH_TORCH):
            torch += f"; PopTorch is built to torch {POPTORCH_TORCH}"
        if self.passes:
            return f"passes the op check of PopTorch {POPTORCH_VERSION} ({torch})"
        return f"an IPU cannot take this model: {'; '.join(self.problems)} ({torch})"
