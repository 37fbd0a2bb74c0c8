"""The peer: HFTA's operators, in a separate environment and a process that takes turns."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from benchmarks.command import FOLDER

PYTHON = FOLDER / "hfta-venv" / "bin" / "python"  # as docs/packs.md installs it
KINDS = ("batch",)  # our kinds for which it has operators
FIRST = 3  # updates whose losses must equal those of the pack
_SCRIPT = Path(__file__).with_name("hfta_script.py")
_AS_IN_A_JOB = {  # a job's settings of glibc: see accelerators/small_updates.py
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": "-1",
}


def reason_against(python: Path) -> str | None:
    """Return why HFTA does not run with *python*; None if it does."""
    if not python.exists():
        return f"there is no {python}"
    tried = subprocess.run([str(python), str(_SCRIPT)], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else _last_line(tried.stderr)


class Hfta:
    """The fused networks in a process of their own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.losses: Tensor = torch.tensor(json.loads(self._answer()))  # (updates, members)

    def seconds(self, times: int) -> float:
        """Make that many updates; return the processor time per update."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{times}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        out: IO[str] | None = self._process.stdout
        line = out.readline() if out is not None else ""
        if not line:
            raise SystemExit(f"HFTA: {_last_line(self._process.communicate()[1])}")
        return line


@contextmanager
def fused(
    python: Path, nets: Sequence[nn.Module], x: Tensor, y: Tensor, **how: Any
) -> Iterator[Hfta]:
    """
    Train *nets* by HFTA, fused, in a process of *python*.

    Args:
        x: samples of each network, (S, N, C, H, W).
        y: their classes, (S, N).
        how: `optimizer` (sgd or adamw) and `rate`.

    Raises:
        SystemExit: it failed; the message says why.
    """
    weights = [torch.stack(each).detach() for each in zip(*(net.parameters() for net in nets))]
    file = FOLDER / "hfta.pt"
    FOLDER.mkdir(exist_ok=True)
    torch.save({"weights": weights, "x": x, "y": y, "first": FIRST, **how}, file)
    process = subprocess.Popen(
        [str(python), str(_SCRIPT), str(file)],
        env={**os.environ, **_AS_IN_A_JOB},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield Hfta(process)
        finally:
            process.kill()


def _last_line(said: str) -> str:
    lines = said.strip().splitlines()
    return lines[-1] if lines else "it ended without a message"
