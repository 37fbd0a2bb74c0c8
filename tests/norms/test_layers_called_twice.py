"""A gradient for a second derivative is the same number, also for a layer that is called twice."""

from __future__ import annotations

from typing import Iterator

import pytest
import torch

from tests.norms import called_twice_cases
from tests.norms.called_twice_cases import largest_difference
from tests.norms.matrix import KINDS
from tests.norms.triton_process import Run, triton_process

# not 'online', which refuses a second backward
KINDS_TWICE = [kind for kind in KINDS if not kind.startswith("online")]
ON_KERNELS = [
    "group, strided",
    "batch_renorm",
    "filter_response, thresholded",
    "meta",
    "switchable",
    "dyt",
    "topk_batch",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with triton_process(tmp_path_factory.mktemp("triton"), interpreted=True) as process:
        yield process


@pytest.mark.parametrize("kind", KINDS_TWICE)
def test_a_gradient_is_the_same_if_it_can_be_differentiated_again(kind: str) -> None:
    assert largest_difference(kind, kernels=False) < 1e-9


@pytest.mark.parametrize("kind", ON_KERNELS)
def test_a_gradient_is_the_same_on_the_triton_kernels(kind: str, run: Run) -> None:
    found = run(called_twice_cases.largest_difference, kind, True, torch.float32)
    assert found < 1e-3


@pytest.mark.parametrize("kind", ["switchable", "meta, batch"])
def test_it_is_that_of_training_also_if_the_layer_evaluates_since(kind: str, run: Run) -> None:
    found = run(called_twice_cases.largest_difference, kind, True, torch.float32, True)
    assert found < 1e-3


@pytest.mark.parametrize("kind", ["switchable", "switchable, unbiased", "meta, batch"])
def test_a_second_derivative_of_an_evaluation_is_as_of_its_forward(kind: str, run: Run) -> None:
    assert run(called_twice_cases.after_an_update, kind) < 1e-3
