"""Triton's compiler makes programs for NVIDIA's GPUs of every kernel, on a host without one."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path
from typing import Iterator

import pytest

from normlab.norms import engine_triton
from tests.norms import compiled_kernels
from tests.norms.compiled_kernels import (
    DATA_KERNELS,
    DEVIATION_KERNELS,
    DEVIATIONS,
    FOLLOWING,
    FORMS,
    SCANS,
    SOLVING_KERNELS,
)
from tests.norms.triton_process import Run, triton_process

ACTIVATED = (
    "affine_kernel",
    "sums_kernel",
    "combine_kernel",
    "tanhed_kernel",
    "tanh_gradients_kernel",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with triton_process(tmp_path_factory.mktemp("triton"), interpreted=False) as process:
        yield process


@pytest.mark.parametrize("data", ["fp32", "fp16", "fp64"])
@pytest.mark.parametrize("name", DATA_KERNELS)
def test_a_kernel_compiles_and_reads_neighbours_at_once(name: str, data: str, run: Run) -> None:
    statistics = "fp64" if data == "fp64" else "fp32"
    program = run(compiled_kernels.program_of, name, data, statistics, 90, True, "nothing")
    assert f"ld.global.v{2 if data == 'fp64' else 4}" in program


@pytest.mark.parametrize("data", ["bf16", "fp64"])
@pytest.mark.parametrize("following", FOLLOWING)
@pytest.mark.parametrize(
    "name",
    ACTIVATED,
)
def test_kernels_with_an_activation_compile(name: str, following: str, data: str, run: Run) -> None:
    statistics = "fp64" if data == "fp64" else "fp32"
    for capability in (80, 90):
        program = run(
            compiled_kernels.program_of, name, data, statistics, capability, True, following
        )
        assert f".target sm_{capability}" in program


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SOLVING_KERNELS)
def test_a_kernel_of_the_solve_step_compiles_in_every_form(name: str, form: str, run: Run) -> None:
    for capability in (80, 90):
        program = run(compiled_kernels.solving_program_of, name, form, capability)
        assert f".target sm_{capability}" in program


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("name", SCANS)
def test_a_scan_over_samples_loads_them_ahead(name: str, capability: int, run: Run) -> None:
    program = run(compiled_kernels.scan_program_of, name, "fp32", capability)
    assert "cp.async.ca.shared.global" in program
    program = run(compiled_kernels.scan_program_of, name, "fp16", capability)
    assert f".target sm_{capability}" in program


@pytest.mark.parametrize("case", DEVIATIONS)
@pytest.mark.parametrize("name", DEVIATION_KERNELS)
def test_a_kernel_of_deviations_compiles_and_reads_neighbours_at_once(
    name: str, case: str, run: Run
) -> None:
    for capability, data in ((80, "bf16"), (90, "fp32")):
        program = run(compiled_kernels.deviation_program_of, name, case, data, capability)
        assert f".target sm_{capability}" in program
        reads_data = name.startswith(("part_", "choose_", "deviated_"))
        assert not reads_data or "ld.global.v4" in program


def test_every_kernel_is_compiled_here() -> None:
    folder = Path(engine_triton.__file__).parent / "triton_kernels"
    written = [re.findall(r"^def (\w+_kernel)\(", f.read_text(), re.M) for f in folder.glob("*.py")]
    assert set(chain(*written)) == {*DATA_KERNELS, *SOLVING_KERNELS, *DEVIATION_KERNELS}


def test_the_kernels_of_a_gpu_are_loaded_only_inside_the_switch(run: Run) -> None:
    assert run(compiled_kernels.load_for_a_gpu) == (True, False)
