"""What the Triton kernels compute on a GPU; `benchmarks.gpu_kernels` measures how fast."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from tests.norms import online_cases, solving_cases
from tests.norms.kernel_cases import MORE, SOME, VARIANTS, Case, check, compared
from tests.norms.matrix import KINDS

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here"),
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is missing here"),
]
OWN_MAPS = ("dyt", "evonorm_s0", "l1_batch", "linf_batch", "topk_batch")
STEPPED = ("group, strided", "switchable", "online", "meta", "streaming", *OWN_MAPS)
LARGE = {"wide": (256, 8, 32, 32), "deep": (2, 8, 224, 224)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_on_a_gpu_s_kernels_equals_the_definition(kind: str) -> None:
    check(compared(Case(kind), "cuda"), torch.float32)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", SOME)
def test_other_shapes_and_precisions_on_a_gpu_equal_the_definition(kind: str, variant: str) -> None:
    case = Case(kind)._replace(**VARIANTS[variant])
    check(compared(case, "cuda"), case.dtype)


@pytest.mark.parametrize("kind", MORE)
def test_other_options_on_a_gpu_equal_the_definition(kind: str) -> None:
    check(compared(Case(kind), "cuda"), torch.float32)


@pytest.mark.parametrize("activation", ["relu", "silu", "gelu"])
@pytest.mark.parametrize("kind", [kind for kind, (_, own) in KINDS.items() if own is None])
def test_an_activation_in_a_gpu_s_kernels_equals_the_definition(kind: str, activation: str) -> None:
    check(compared(Case(kind, activation=activation), "cuda"), torch.float32)


@pytest.mark.parametrize("kind", ["switchable", "sparse_switchable", "meta", "streaming", "batch"])
def test_state_after_several_steps_on_a_gpu_is_that_of_the_definition(kind: str) -> None:
    found, right = solving_cases.after_steps(kind, "cuda")
    for name, value in right.items():
        torch.testing.assert_close(found[name], value, rtol=2e-4, atol=2e-4, msg=name)


@pytest.mark.parametrize("shape", ["maps", "vectors", "one map"])
@pytest.mark.parametrize("options", online_cases.OPTIONS)
def test_each_step_of_online_on_a_gpu_is_that_of_the_definition(options: str, shape: str) -> None:
    found, right = online_cases.steps(options, shape, device="cuda")
    for one, other in zip(found, right):
        for name, value in other.items():
            difference = (one[name].double() - value).abs().max()
            assert difference <= 1e-4 * value.abs().max().clamp_min(1), name


def test_one_hot_ratios_are_frozen_on_a_gpu() -> None:
    state = solving_cases.frozen("cuda")
    assert state["mean_weight"].tolist() == state["var_weight"].tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("shape", LARGE.values(), ids=LARGE)
@pytest.mark.parametrize("kind", ["group, strided", "switchable", "batch_renorm", *OWN_MAPS])
def test_large_data_on_a_gpu_equal_the_definition(kind: str, shape: tuple[int, ...]) -> None:
    found = compared(Case(kind, shape, torch.bfloat16), "cuda")
    for name in ("y", "gx"):  # sums over a batch are rounded more often than data
        assert found.differences[name] <= 1.6e-2


@pytest.mark.parametrize("kind", STEPPED)
def test_two_steps_on_a_gpu_have_the_same_bits(kind: str) -> None:
    once, again = (compared(Case(kind), "cuda") for _ in range(2))
    assert once == again
