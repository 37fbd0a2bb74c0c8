"""The solve step on Triton kernels, in the interpreter on a CPU: state, ratios and launches."""

from __future__ import annotations

from typing import Iterator, List, Tuple

import pytest
import torch

from tests.norms import solving_cases
from tests.norms.kernel_cases import MORE, Case, check, compared
from tests.norms.matrix import KINDS
from tests.norms.triton_process import Run, triton_process

WITH_STATE = [
    kind
    for kind in (*KINDS, *MORE)
    if kind.startswith(("batch", "streaming", "switchable", "sparse", "meta", "l1", "linf", "topk"))
]
MOST_LAUNCHES = {  # of a step with moving statistics, in the kernels of Triton and of torch
    "batch, ghost batches": (10, 1),
    "group, strided": (9, 1),
    "rms": (9, 1),
    "rms, partial": (9, 1),
    "rms, a channel each": (7, 1),
    "dyt": (3, 0),
    "evonorm_s0": (6, 1),
    "filter_response": (7, 1),
    "batch_renorm": (10, 7),
    "streaming": (11, 1),
    "switchable": (12, 1),
    "sparse_switchable": (13, 3),
    "meta": (10, 1),
    "meta, batch": (13, 1),
    "online": (10, 1),
    "online, clamp": (8, 2),
    "online, none": (8, 1),
    "l1_batch": (8, 0),
    "linf_batch": (8, 0),
    "topk_batch": (7, 0),
    "topk_batch, ghost batches": (7, 2),
    "group, proxy": (11, 2),
    "batch, proxy": (12, 5),
}

GHOSTS = [kind for kind in (*KINDS, *MORE) if "ghost batches" in kind]
BY_RUNNING = {  # kinds that evaluate by running statistics: launches of Triton and of torch
    "switchable": (11, 3),
    "switchable, unbiased": (11, 3),
    "sparse_switchable": (11, 4),
    "meta, batch and groups": (8, 3),
    "meta, ghost batches": (8, 3),
}
UNBIASED = [(6, 8), (3, 8, 7)]  # without an instance of several positions, a pool is unbiased


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with triton_process(tmp_path_factory.mktemp("triton"), interpreted=True) as process:
        yield process


@pytest.mark.parametrize("kind", MORE)
def test_a_step_with_other_options_equals_the_definition(kind: str, run: Run) -> None:
    check(run(compared, Case(kind)), torch.float32)


@pytest.mark.parametrize("kind", WITH_STATE)
def test_state_and_parameters_after_several_steps_are_those_of_the_definition(
    kind: str, run: Run
) -> None:
    found, right = run(solving_cases.after_steps, kind)
    for name, value in right.items():
        torch.testing.assert_close(found[name], value, rtol=2e-4, atol=2e-4, msg=name)


def test_members_side_by_side_keep_their_own_counts(run: Run) -> None:
    found, right = run(solving_cases.after_steps_of_a_pack)
    assert right["norm.num_batches_tracked"].tolist() == [1, 2]
    for name, value in right.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_members_side_by_side_have_their_own_slope_of_tanh(run: Run) -> None:
    found, right = run(solving_cases.gradients_of_a_pack, "gelu")
    assert right["norm.alpha"].shape == (2,)
    for name, value in right.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_ratios_that_become_one_hot_are_frozen_and_others_are_not_tracked(run: Run) -> None:
    state = run(solving_cases.frozen)
    assert state["mean_weight"].tolist() == state["var_weight"].tolist() == [0.0, 1.0, 0.0]
    assert bool(state["mean_fixed"] & state["var_fixed"])
    assert int(state["num_batches_tracked"]) < 6


@pytest.mark.parametrize("variant", ["paper", "reference"])
@pytest.mark.parametrize("radius", [0.0, 0.2, 0.5, 0.75, 0.9])
@pytest.mark.parametrize(
    "logits",
    [
        [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]],
        [[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]],
        [[0.3, -0.2, 0.1], [5.0, 5.0001, -7.0]],
        [[1e4, 1e4 + 1, 0.0], [0.6, 0.5, 0.4]],
        [[0.1, 0.4], [2.0, 2.0]],
        [[0.0, float("nan"), 1.0], [float("inf"), 0.0, 0.0]],
    ],
)
def test_sparsestmax_is_that_in_plain_numbers(
    logits: List[List[float]], radius: float, variant: str, run: Run
) -> None:
    (ratios, jacobians), (right, slopes) = run(solving_cases.projected, logits, radius, variant)
    torch.testing.assert_close(ratios, right, rtol=1e-5, atol=1e-6, equal_nan=True)
    torch.testing.assert_close(jacobians, slopes, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 0.0])
def test_a_gate_that_is_not_finite_gives_what_the_definition_gives(value: float, run: Run) -> None:
    for fused, plain in zip(*run(solving_cases.of_a_lost_gate, value)):
        torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-5, equal_nan=True)


def test_a_learned_eps_that_is_not_finite_has_no_gradient_of_zero(run: Run) -> None:
    assert bool(run(solving_cases.gradient_of_a_lost_eps).isnan().all())


def test_streaming_refuses_a_second_derivative(run: Run) -> None:
    assert "a second derivative was asked for" in run(solving_cases.second_derivative_of_streaming)


@pytest.mark.parametrize("kind", MOST_LAUNCHES)
def test_a_step_needs_few_launches(kind: str, run: Run) -> None:
    torch_count, triton_count = run(solving_cases.launches_of, kind)
    most_triton, most_torch = MOST_LAUNCHES[kind]
    assert triton_count <= most_triton
    assert torch_count <= most_torch


@pytest.mark.parametrize("kind", GHOSTS)
@pytest.mark.parametrize("shape", [(5, 8, 3, 5), (7, 8, 1, 4)])
def test_a_smaller_last_virtual_batch_equals_the_definition(
    kind: str, shape: Tuple[int, ...], run: Run
) -> None:
    check(run(compared, Case(kind, shape)), torch.float32)


@pytest.mark.parametrize("kind", ["switchable, unbiased", "sparse_switchable, unbiased"])
@pytest.mark.parametrize("shape", UNBIASED)
def test_unbiased_variances_in_one_dimension_equal_the_definition(
    kind: str, shape: Tuple[int, ...], run: Run
) -> None:
    check(run(compared, Case(kind, shape)), torch.float32)


@pytest.mark.parametrize(
    ("kind", "shape", "most"),
    [
        ("batch, ghost batches", (5, 8, 3, 5), (10, 5)),
        ("switchable, ghost batches", (5, 8, 3, 5), (12, 5)),
        ("switchable, unbiased", (6, 8), (8, 4)),
    ],
)
def test_pools_of_other_sizes_need_few_launches(
    kind: str, shape: Tuple[int, ...], most: Tuple[int, int], run: Run
) -> None:
    torch_count, triton_count = run(solving_cases.launches_of, kind, shape)
    assert triton_count <= most[0]
    assert torch_count <= most[1]


@pytest.mark.parametrize("shape", [(5, 8, 3, 5), (6, 8)])
@pytest.mark.parametrize("kind", BY_RUNNING)
def test_evaluation_by_running_statistics_equals_the_definition(
    kind: str, shape: Tuple[int, ...], run: Run
) -> None:
    found = run(compared, Case(kind, shape, training=False))
    check(found, torch.float32)
    assert not found.moved


@pytest.mark.parametrize("kind", BY_RUNNING)
def test_evaluation_by_running_statistics_needs_few_launches(kind: str, run: Run) -> None:
    torch_count, triton_count = run(solving_cases.launches_of, kind, (4, 8, 3, 5), False)
    most_triton, most_torch = BY_RUNNING[kind]
    assert triton_count <= most_triton
    assert torch_count <= most_torch
