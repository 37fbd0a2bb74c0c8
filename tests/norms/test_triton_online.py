"""Online Normalization in Triton kernels, in Triton's interpreter on a CPU: state and gradients."""

from __future__ import annotations

from typing import Iterator

import pytest
import torch

from tests.norms import kernel_cases, online_cases
from tests.norms.kernel_cases import ROUNDING, Case, check
from tests.norms.online_cases import OPTIONS, SHAPES, Step
from tests.norms.online_loop import STATE
from tests.norms.triton_process import Run, triton_process

HALVES = [torch.float16, torch.bfloat16]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with triton_process(tmp_path_factory.mktemp("triton"), interpreted=True) as process:
        yield process


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", OPTIONS)
def test_each_of_several_steps_is_that_of_the_definition(
    options: str, shape: str, run: Run
) -> None:
    found, right = run(online_cases.steps, options, shape)
    assert len(found) == 5
    for one, other in zip(found, right):
        assert_close(one, other, torch.float32)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("shape", ["maps", "vectors"])
@pytest.mark.parametrize("options", ["layer_scaling", "clamp", "none"])
def test_steps_on_half_precision_data_keep_the_state_in_float32(
    options: str, shape: str, dtype: torch.dtype, run: Run
) -> None:
    found, right = run(online_cases.steps, options, shape, dtype)
    for one, other in zip(found, right):
        assert one["y"].dtype == one["gx"].dtype == dtype
        assert {one[name].dtype for name in STATE} == {torch.float32}
        assert_close(one, other, dtype)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("kind", ["online", "online, clamp", "online, groups"])
def test_half_precision_in_channels_last_is_read_without_a_copy(
    kind: str, dtype: torch.dtype, run: Run
) -> None:
    assert run(online_cases.reads_in_place, kind, dtype)
    found = run(kernel_cases.compared, Case(kind, dtype=dtype, channels_last=True))
    check(found, dtype)
    assert found.kept_format


@pytest.mark.parametrize("options", ["layer_scaling", "clamp"])
@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e30])
def test_a_value_that_is_not_finite_leaves_the_state_and_the_samples_before(
    value: float, options: str, run: Run
) -> None:
    first, second, third = run(online_cases.with_a_value, "x", value, options)
    assert second["nonfinite_statistics"] == third["nonfinite_statistics"] == 1
    for name in STATE:
        assert torch.equal(first[name], second[name])
        assert bool((third[name] != second[name]).all())
    assert bool(second["y"][0].isfinite().all() and second["gx"][0].isfinite().all())
    assert bool(third["y"].isfinite().all() and third["gx"].isfinite().all())


def test_a_gradient_that_is_not_finite_leaves_the_control_alone(run: Run) -> None:
    first, second, _ = run(online_cases.with_a_value, "g", float("inf"))
    assert second["nonfinite_statistics"] == 0
    assert [torch.equal(first[name], second[name]) for name in STATE] == [False, False, True, True]


def test_members_side_by_side_keep_their_own_state(run: Run) -> None:
    found, right = run(online_cases.pack_with_infinity)
    assert found["nonfinite_statistics"].tolist() == [1, 0]
    assert bool((found["mu"][:3] == 0).all() and (found["mu"][3:] != 0).all())
    assert_close(found, right, torch.float32)


@pytest.mark.parametrize(
    ("how", "words"),
    [("derivative", "a second derivative was asked for"), ("again", "a second backward through")],
)
def test_a_second_backward_or_derivative_is_refused(how: str, words: str, run: Run) -> None:
    assert words in run(online_cases.refused, how)


@pytest.mark.parametrize("options", ["layer_scaling", "clamp", "none"])
def test_a_step_reads_no_number_from_the_device(options: str, run: Run) -> None:
    assert run(online_cases.reads_by_the_host, options) == 0


def test_two_runs_have_the_same_bits(run: Run) -> None:
    once, again = (run(online_cases.steps, "layer_scaling", "maps")[0] for _ in range(2))
    for one, other in zip(once, again):
        assert all(torch.equal(t, other[name]) for name, t in one.items())


def test_without_the_kernels_the_definition_runs() -> None:
    assert online_cases.chosen_without_kernels() == ("normlab.norms.online_passes", False)


def assert_close(found: Step, right: Step, dtype: torch.dtype) -> None:
    """Data are rounded to *dtype*, and everything else to float32."""
    for name, value in right.items():
        limit = ROUNDING[dtype if name in ("y", "gx") else torch.float32]
        difference = (found[name].double() - value.double()).abs().max()
        assert difference <= limit * value.double().abs().max().clamp_min(1), name
