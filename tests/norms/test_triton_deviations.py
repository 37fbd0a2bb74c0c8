"""Norms that divide by a deviation in the Triton kernels, in Triton's interpreter on a CPU."""

from __future__ import annotations

from typing import Iterator, Tuple

import pytest
import torch

from tests.norms import deviation_cases, kernel_cases
from tests.norms.kernel_cases import VARIANTS, Case, check
from tests.norms.triton_process import Run, triton_process

KINDS = ("l1_batch", "linf_batch", "topk_batch")  # topk_batch is in the other tests too
GHOSTS = [f"{kind}, ghost batches" for kind in KINDS]
PARTS = {"usual": {}, "channels last": {"channels_last": True}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with triton_process(tmp_path_factory.mktemp("triton"), interpreted=True) as process:
        yield process


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", KINDS[:2])
def test_a_step_equals_the_definition_in_other_shapes_and_precisions(
    kind: str, variant: str, run: Run
) -> None:
    case = Case(kind)._replace(**VARIANTS[variant])
    found = run(kernel_cases.compared, case)
    check(found, case.dtype)
    assert found.kept_format or len(case.shape) == 2


@pytest.mark.parametrize("shape", [(4, 8, 3, 5), (6, 8, 4), (8, 8), (2, 8, 3, 2, 2)])
@pytest.mark.parametrize("kind", GHOSTS)
def test_ghost_batches_equal_the_definition(kind: str, shape: Tuple[int, ...], run: Run) -> None:
    case = Case(kind, shape)
    if len(shape) == 2:  # two values have the same deviation, and rounding chooses one of them
        case = case._replace(kind=kind.replace("topk", "l1").replace("linf", "l1"))
    found = run(kernel_cases.compared, case)
    check(found, torch.float32)
    assert found.launches == 1  # of the map


def test_ghost_batches_in_channels_last_equal_the_definition(run: Run) -> None:
    for kind in GHOSTS:
        found = run(kernel_cases.compared, Case(kind, (4, 8, 5, 7), channels_last=True))
        check(found, torch.float32)
        assert found.kept_format


@pytest.mark.parametrize("layout", PARTS)
@pytest.mark.parametrize("kind", KINDS)
def test_statistics_that_several_programs_share_equal_the_definition(
    kind: str, layout: str, run: Run
) -> None:
    case = Case(kind, (3, 8, 96, 64), **PARTS[layout])
    check(run(kernel_cases.compared, case), torch.float32)


@pytest.mark.parametrize("kind", GHOSTS[1:])
def test_several_programs_share_a_ghost_batch(kind: str, run: Run) -> None:
    check(run(kernel_cases.compared, Case(kind, (4, 8, 96, 96))), torch.float32)


@pytest.mark.parametrize(("kind", "most"), [("l1_batch", 8), ("linf_batch", 8), ("topk_batch", 11)])
def test_a_step_that_several_programs_share_needs_few_launches(
    kind: str, most: int, run: Run
) -> None:
    torch_count, triton_count = run(deviation_cases.launches_of, kind, (2, 2, 96, 96))
    assert (torch_count, triton_count) == (0, most)


@pytest.mark.parametrize("k", [1, 2, 7, 20, 90])
def test_of_equal_deviations_the_first_are_chosen(k: int, run: Run) -> None:
    found, right = run(deviation_cases.ties, k, (3, 2, 3, 5))
    for name, value in right.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("k", [1, 9_000, 15_000])
def test_ties_among_several_programs_are_chosen_in_their_order(
    k: int, channels_last: bool, run: Run
) -> None:
    found, right = run(deviation_cases.ties, k, (1, 2, 96, 96), channels_last)
    for name, value in right.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_data_far_from_zero_keep_their_digits(kind: str, run: Run) -> None:
    found, right = run(deviation_cases.far_from_zero, kind)
    torch.testing.assert_close(found, right, rtol=0, atol=3e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_smaller_last_virtual_batch_is_left_to_torch_s_operators(kind: str, run: Run) -> None:
    options = {"kind": kind, "virtual_batch_size": 2}
    assert run(deviation_cases.kernels_used, options, (4, 8, 5, 5))
    assert not run(deviation_cases.kernels_used, options, (5, 8, 5, 5))


def test_what_a_subclass_changes_is_computed(run: Run) -> None:
    torch.testing.assert_close(*run(deviation_cases.of_a_subclass))
