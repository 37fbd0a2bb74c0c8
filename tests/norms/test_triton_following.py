"""Activations and proxies in the Triton kernels of the map, in Triton's interpreter on a CPU."""

from __future__ import annotations

from typing import Iterator

import pytest
import torch

from normlab.norms.following import ACTIVATIONS
from tests.norms import following_cases, kernel_cases
from tests.norms.kernel_cases import MORE, VARIANTS, Case, check
from tests.norms.matrix import KINDS
from tests.norms.triton_process import Run, triton_process

ELSEWHERE = ("l1_batch", "linf_batch", "topk_batch", "online")  # maps of their own
PLAIN = [kind for kind, (_, activation) in KINDS.items() if activation is None]
SOME = ["batch, ghost batches", "group, strided", "meta, learned", "dyt"]
PROXIES = [kind for kind in (*KINDS, *MORE) if "proxy" in kind and not kind.startswith(ELSEWHERE)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with triton_process(tmp_path_factory.mktemp("triton"), interpreted=True) as process:
        yield process


@pytest.mark.parametrize("kind", PLAIN)
def test_an_activation_is_part_of_the_map_and_equals_the_definition(kind: str, run: Run) -> None:
    found = run(kernel_cases.compared, Case(kind, activation="gelu"))
    check(found, torch.float32)
    clamps = "clamp" in kind  # in the map too
    assert (found.followed > 0) == (clamps or kind.split(",")[0] not in ELSEWHERE)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_map_of_dyt_includes_an_activation_on_vectors(activation: str, run: Run) -> None:
    found = run(kernel_cases.compared, Case("dyt", (12, 8), activation=activation))
    check(found, torch.float32)
    assert found.followed == 1


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", SOME)
def test_an_activation_equals_the_definition_in_other_shapes_and_precisions(
    kind: str, variant: str, activation: str, run: Run
) -> None:
    case = Case(kind, activation=activation)._replace(**VARIANTS[variant])
    check(run(kernel_cases.compared, case), case.dtype)


@pytest.mark.parametrize("kind", [*PROXIES, "filter_response, thresholded"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_a_proxy_or_threshold_is_part_of_the_map(kind: str, dtype: torch.dtype, run: Run) -> None:
    found = run(kernel_cases.compared, Case(kind, dtype=dtype))
    check(found, dtype)
    wide = "proxy" in kind and dtype == torch.float64  # its terms are for float32
    assert (found.followed > 0) == (not wide)


@pytest.mark.parametrize("follows", following_cases.FOLLOWS)
def test_what_follows_keeps_nan_and_the_sign_of_zero(follows: str, run: Run) -> None:
    fused, plain = run(following_cases.mapped, follows)
    torch.testing.assert_close(fused, plain, rtol=1e-5, atol=0, equal_nan=True)
    assert torch.equal(fused.signbit() & ~fused.isnan(), plain.signbit() & ~plain.isnan())


@pytest.mark.parametrize("follows", following_cases.FOLLOWS)
def test_gradients_of_what_follows_are_those_of_the_definition(follows: str, run: Run) -> None:
    for fused, plain in run(following_cases.gradients, follows):
        torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize(
    "kind",
    [
        "switchable",
        "meta",
        "group",
        "group, proxy",
        "batch, proxy",
        "dyt",
        "evonorm_s0",
        "l1_batch",
        "topk_batch, proxy",
    ],
)
def test_second_derivatives_are_those_of_the_definition(kind: str, run: Run) -> None:
    for fused, plain in run(following_cases.second_derivatives, kind):
        assert (fused - plain).abs().max() <= 2e-5 * plain.abs().max()


def test_a_forward_without_a_graph_has_the_same_bits(run: Run) -> None:
    assert run(following_cases.has_the_same_bits_without_a_graph)


def test_a_hook_of_the_norm_sees_its_output_before_the_activation(run: Run) -> None:
    seen, y = run(following_cases.seen_by_a_hook)
    assert bool((seen < 0).any())
    assert torch.equal(seen.relu(), y)


@pytest.mark.parametrize("extended", following_cases.AUTHORS)
def test_an_author_s_norm_that_computes_more_is_activated_afterwards(
    extended: str, run: Run
) -> None:
    fused, plain = run(following_cases.of_an_author, extended)
    torch.testing.assert_close(fused, plain)


@pytest.mark.parametrize("method", ["forward", "normalize_with", "normalize"])
def test_a_norm_with_a_replaced_method_is_activated_afterwards(method: str, run: Run) -> None:
    fused, plain = run(following_cases.replaced_in_one_norm, method)
    torch.testing.assert_close(fused, plain)


def test_nothing_stays_with_a_norm_whose_forward_failed(run: Run) -> None:
    assert run(following_cases.following_after_a_failure) is None
