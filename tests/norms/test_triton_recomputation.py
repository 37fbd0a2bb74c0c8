"""Activation checkpoints around layers on the Triton kernels change no bit."""

from __future__ import annotations

from typing import Iterator

import pytest

from tests.norms import recomputed_cases
from tests.norms.triton_process import Run, triton_process

ON_KERNELS = ["batch_renorm", "meta", "switchable", "evonorm_s0", "dyt", "topk_batch", "online"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with triton_process(tmp_path_factory.mktemp("triton"), interpreted=True) as process:
        yield process


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("kind", ON_KERNELS)
def test_a_checkpoint_changes_no_bit(kind: str, reentrant: bool, run: Run) -> None:
    assert run(recomputed_cases.unlike, kind, reentrant) == {}
