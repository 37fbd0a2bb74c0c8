"""Triton's compiler makes programs for NVIDIA's GPUs of every kernel, on a host without one."""

from __future__ import annotations

from typing import Iterator

import pytest

from tests.norms import compiled_kernels
from tests.norms.triton_process import Run, triton_process


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with triton_process(tmp_path_factory.mktemp("triton"), interpreted=False) as process:
        yield process


@pytest.mark.parametrize("data", ["fp32", "fp16", "fp64"])
@pytest.mark.parametrize("name", compiled_kernels.KERNELS)
def test_a_kernel_compiles_and_reads_neighbours_at_once(name: str, data: str, run: Run) -> None:
    statistics = "fp64" if data == "fp64" else "fp32"
    program = run(compiled_kernels.program_of, name, data, statistics, 90, True)
    assert f"ld.global.v{2 if data == 'fp64' else 4}" in program


def test_older_gpus_are_compiled_for_too(run: Run) -> None:
    assert ".target sm_80" in run(
        compiled_kernels.program_of, "affine_kernel", "bf16", "fp32", 80, False
    )


def test_the_kernels_of_a_gpu_are_loaded_only_inside_the_switch(run: Run) -> None:
    assert run(compiled_kernels.load_for_a_gpu) == (True, False)
