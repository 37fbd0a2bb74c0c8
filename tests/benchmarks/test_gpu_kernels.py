from __future__ import annotations

import math
import sys

import pytest
import torch

from benchmarks import gpu_kernels


@pytest.mark.skipif(torch.cuda.is_available(), reason="this host has a GPU")
def test_without_a_gpu_the_benchmark_says_that_it_is_skipped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_kernels"])
    assert gpu_kernels.main() == 0
    assert capsys.readouterr().out == "skipped: torch sees no GPU here\n"


def test_times_are_compared_with_batch_norm_in_the_same_way() -> None:
    names = [gpu_kernels.NATIVE, "meta", "streaming", "group + proxy relu"]
    ways = {"kernels": [1.0, 4.0, 2.0, 3.0], "kernels, graph": [2.0, 2.2, math.nan, 2.0]}
    native, meta, streaming, proxy = gpu_kernels.compared(names, ways)
    assert (meta["kernels ratio"], meta["kernels, graph ratio"]) == (4.0, 1.1)
    assert (native["met"], meta["met"], streaming["met"], proxy["met"]) == (None, True, None, False)
