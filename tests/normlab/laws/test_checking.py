"""The laws find what is wrong with a layer, and pass one that is right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import List

import pytest
import torch
from torch import Tensor, nn

import normlab
from normlab.laws.checking import BROKEN, OK, TOLD, check
from normlab.laws.properties import PROPERTIES
from tests.normlab.plugins.authors import MY_NORMS, written
from tests.where import DEVICE

pytestmark = [
    pytest.mark.usefixtures("no_plugins"),
    pytest.mark.skipif(not hasattr(torch, "compiler"), reason="PyTorch 2.0 lacks most modes"),
    pytest.mark.skipif(DEVICE != "cpu", reason="the modes are compared on a CPU"),
]
QUICK = [*PROPERTIES, "eager", "checkpoint, hooks", "in-place operator after it"]


class Doubling(torch.autograd.Function):
    """Its backward pass is wrong."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: object, g: Tensor) -> Tensor:
        return 3 * g


class Base(nn.Module):
    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_features))
        self.register_buffer("seen", torch.zeros(()))
        self.calls = 0


class Narrow(Base):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, 1:] * self.weight[:, None, None]


class Single(Base):
    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight[:, None, None]).float()


class Noisy(Base):
    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight[:, None, None] + torch.rand_like(x)


class Slanted(Base):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = Doubling.apply(x * self.weight[:, None, None])
        return y


class Counting(Base):
    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return x * self.weight[:, None, None]


class OverTheBatch(Base):
    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(0, keepdim=True)) * self.weight[:, None, None]


class Forgetful(Base):
    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        return x * self.weight[:, None, None] * (1 + self.calls)


class Moving(Base):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen += 1
        return x * self.weight[:, None, None] * (1 + self.seen)


@pytest.mark.parametrize(
    ("layer", "law"),
    [
        (Narrow, "shape and dtype"),
        (Single, "shape and dtype"),
        (Noisy, "determinism"),
        (Slanted, "gradients"),
        (Counting, "evaluation keeps state"),
        (OverTheBatch, "batch independence"),
        (Forgetful, "state dict"),
        (Moving, "checkpoint, hooks"),
    ],
)
def test_a_layer_that_breaks_a_law_is_told_which(layer: type[nn.Module], law: str) -> None:
    name = f"a_{layer.__name__.lower()}_one"
    normlab.normalizer(name, batch_independent=True, stateful=layer is Moving)(layer)
    (found,) = check(name, [law])
    assert found.verdict == BROKEN, found
    assert found.detail


@pytest.mark.parametrize("normalizer", ["group", "batch", "online", {"kind": "layer", "eps": 1e-3}])
def test_our_own_kinds_obey_them(normalizer: object) -> None:
    assert {found.law for found in check(normalizer, QUICK) if found.verdict != OK} == set()


def test_a_cost_is_told_as_a_ratio() -> None:
    (found,) = check("group", ["cost"])
    assert found.verdict == TOLD
    assert "times torch's batch norm" in found.detail


def run_pytest(folder: Path, *more: str) -> List[str]:
    line = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--color=no", *more]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


def test_pytest_runs_the_laws_as_tests(tmp_path: Path) -> None:
    written(tmp_path)
    wrong = MY_NORMS.replace("torch.tanh(self.alpha * x)", "torch.tanh(self.alpha * x)[:, :, 1:]")
    (tmp_path / "wrong.py").write_text(wrong.replace("_of_mine", "_of_yours"))
    (tmp_path / "test_other.py").write_text("def test_that_is_not_meant(): assert False")
    only = ["-k", "dtype or determinism"]
    assert run_pytest(tmp_path, "--norms", "my_norms.py", *only)[-1].startswith("4 passed")
    said = run_pytest(tmp_path, "--norms", "wrong.py", *only)
    assert any("dyt_of_yours breaks the law 'shape and dtype'" in line for line in said)
    assert said[-1].startswith("1 failed, 3 passed")
