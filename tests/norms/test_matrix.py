from __future__ import annotations

import copy
import re
import shutil
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Iterator

import pytest
import torch
from torch import nn

from normlab.errors import InvalidSpec, NormlabError
from normlab.laws import ways
from normlab.laws.modes import MODES, differences, tolerated, torchs_own_warnings
from normlab.laws.small_trainings import Record, train
from normlab.laws.ways import Way
from normlab.norms import fused_kernels
from tests.norms import matrix
from tests.norms.compiling import load_or_skip
from tests.norms.matrix import KINDS
from tests.where import DEVICE

IN_PLAIN_OPERATORS = re.compile("compiled|export|vmap|func|jit|meta|half|bfloat16|autocast")
pytestmark = [
    pytest.mark.skipif(
        not hasattr(torch, "compiler"), reason="PyTorch 2.0 lacks most of these modes"
    ),
    pytest.mark.skipif(DEVICE != "cpu", reason="the modes are compared on a CPU"),
]


@lru_cache(maxsize=None)
def expected(kind: str, way: Way) -> Record:
    """The results of the kind in eager mode, in float64."""
    return way(matrix.net_of(kind).double())


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_equals_eager_float64_or_refuses_with_an_alternative(kind: str, name: str) -> None:
    mode = MODES[name]
    if matrix.is_refused(kind, name):
        with pytest.raises(NormlabError, match=r"[:;] (train|put|use|run) "), torchs_own_warnings():
            mode.way(matrix.net_of(kind))
        return
    with torchs_own_warnings():
        found = mode.way(matrix.net_of(kind))
    if mode.way is not ways.on_meta:  # shapes, which it compared itself
        right = expected(kind, mode.reference)
        limits = tolerated(lambda: matrix.net_of(kind), mode, right)
        assert differences(found, right, limits) == {}


@pytest.fixture(scope="module")
def loops() -> Iterator[None]:
    """The compiled C++ loops, while the tests that ask for them run."""
    with ExitStack() as stack:
        load_or_skip(lambda: stack.enter_context(fused_kernels(True)))
        yield


# the compiler, the exporter and vmap see plain operators, with loops as without
@pytest.mark.parametrize("name", [n for n in MODES if not IN_PLAIN_OPERATORS.search(n)])
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_loops_equal_eager_float64_or_refuse_too(
    loops: None, kind: str, name: str
) -> None:
    try:
        test_a_layer_equals_eager_float64_or_refuses_with_an_alternative(kind, name)
    except InvalidSpec as e:
        if name != "double backward" or ": use normlab.norms.plain_operators(model)" not in str(e):
            raise


@pytest.mark.skipif(
    shutil.which("g++") is None, reason="the compiler of torch needs a C++ compiler"
)
def test_a_network_compiled_as_in_a_job_learns_like_an_eager_one() -> None:
    kinds = ("batch_renorm, keras", "streaming", "online", "switchable", "group, strided", "meta")
    # without an activation, a shift before the next norm has only a rounding error as gradient
    layers = [m for kind in kinds for m in (*matrix.net_of(kind).children(), nn.SiLU())]
    for convolution in layers[3::3]:  # the first takes the data as input
        convolution.weight = nn.Parameter(torch.randn(8, 8, 1, 1) / 3)
        convolution.in_channels = 8
    net = nn.Sequential(*layers)
    right = ways.eager(copy.deepcopy(net).double())
    torch._dynamo.reset()
    with torchs_own_warnings():
        found = train(net, torch.compile(net))
    assert differences(found, right, 2e-4) == {}


def test_the_table_on_the_page_matches_the_matrix() -> None:
    page = (Path(__file__).parents[2] / "docs" / "normalizers.md").read_text(encoding="utf-8")
    assert matrix.table() in page
    assert matrix.fill(page) == page, "run python -m tests.norms.matrix"


def test_a_wrong_number_is_a_difference() -> None:
    right = {"y": torch.ones(3), "no gradient": torch.zeros(2)}
    assert differences({"y": torch.ones(3)}, right, 1e-6) == {}
    assert differences({"y": torch.full((3,), 1.1)}, right, 1e-6).keys() == {"y"}
    assert differences({"y": torch.full((3,), float("nan"))}, right, 1e-6).keys() == {"y"}
