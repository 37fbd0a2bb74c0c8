"""The Triton kernels in Triton's interpreter, on a CPU: what they compute, not how fast."""

from __future__ import annotations

from typing import Iterator, Optional, Tuple

import pytest
import torch

from normlab.errors import DeviceUnavailable
from normlab.norms import engine_triton
from tests.norms import kernel_cases
from tests.norms.kernel_cases import SOME, VARIANTS, Case, check
from tests.norms.matrix import KINDS
from tests.norms.triton_process import Run, triton_process

STOCK = ("batch", "layer", "instance", "group")  # torch's own kernels, where statistics are float32


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with triton_process(tmp_path_factory.mktemp("triton"), interpreted=True) as process:
        yield process


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_on_the_kernels_equals_the_definition(kind: str, run: Run) -> None:
    found = run(kernel_cases.compared, Case(kind))
    check(found, torch.float32)
    name = kind.split(",")[0]
    other = any(word in kind for word in ("ghost", "strided", "proxy"))
    assert (found.launches > 0) == (name not in STOCK or other)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", SOME)
def test_a_step_equals_the_definition_in_other_shapes_and_precisions(
    kind: str, variant: str, run: Run
) -> None:
    case = Case(kind)._replace(**VARIANTS[variant])
    found = run(kernel_cases.compared, case)
    check(found, case.dtype)
    assert found.kept_format or len(case.shape) == 2


@pytest.mark.parametrize("kind", [*STOCK, "rms"])
def test_half_precision_is_read_and_written_without_a_copy(kind: str, run: Run) -> None:
    found = run(kernel_cases.compared, Case(kind, dtype=torch.float16))
    check(found, torch.float16)
    assert found.launches == 4  # moments and map, sums and map


@pytest.mark.parametrize("shape", [(2100, 8), (1030, 8, 2)])
@pytest.mark.parametrize("kind", ["dyt", "evonorm_s0"])
def test_many_samples_are_summed_by_several_programs(
    kind: str, shape: Tuple[int, ...], run: Run
) -> None:
    check(run(kernel_cases.compared, Case(kind, shape)), torch.float32)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("spoilt", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("kind", ["dyt", "evonorm_s0"])
def test_a_value_that_is_not_finite_spoils_only_what_the_definition_says(
    kind: str, spoilt: float, channels_last: bool, run: Run
) -> None:
    case = Case(kind, channels_last=channels_last, spoilt=spoilt)
    check(run(kernel_cases.compared, case), torch.float32)


@pytest.mark.parametrize("spoilt", [float("inf"), float("nan"), 1e30])
@pytest.mark.parametrize(
    "kind",
    ["batch, ghost batches", "switchable", "streaming", "l1_batch", "linf_batch", "topk_batch"],
)
def test_a_batch_that_is_not_finite_is_counted_and_leaves_the_state(
    kind: str, spoilt: float, run: Run
) -> None:
    found = run(kernel_cases.compared, Case(kind, spoilt=spoilt))
    assert not found.moved
    assert found.skipped == 1


def test_moments_keep_their_digits_far_from_zero(run: Run) -> None:
    x = 1000 + torch.randn(1, 2, 40, 40, device="cpu")
    mean, var = run(kernel_cases.moments_of, x)
    torch.testing.assert_close(mean.double(), x.double().mean((2, 3)), rtol=1e-6, atol=0)
    exact = x.double().var((2, 3), unbiased=False)
    torch.testing.assert_close(var.double(), exact, rtol=1e-6, atol=0)


def test_only_data_in_another_layout_are_copied(run: Run) -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float16, device="cpu")
    for dense in (x, x.contiguous(memory_format=torch.channels_last)):
        assert run(kernel_cases.is_taken_as_it_is, dense)
    assert not run(kernel_cases.is_taken_as_it_is, x.transpose(2, 3))


def test_the_interpreter_is_not_taken_for_a_gpu(run: Run) -> None:
    assert "were asked for on cuda, and triton runs them on cpu" in run(
        kernel_cases.refused_for_a_gpu
    )


@pytest.mark.parametrize(("found", "words"), [(None, "found none"), ("2.1.0", "found 2.1.0")])
def test_without_a_triton_that_fits_the_reason_and_the_way_out_are_given(
    found: Optional[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_triton, "version", lambda: found)
    with pytest.raises(DeviceUnavailable, match=f"{words}: install torch for CUDA.*or leave"):
        engine_triton.load()


def test_no_kernel_is_used_unless_requested() -> None:
    assert not engine_triton.is_loaded()
    assert engine_triton.kernels_for(torch.zeros(1)) is None
