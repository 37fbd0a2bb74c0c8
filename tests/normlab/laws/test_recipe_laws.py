"""The laws of optimizers, schedules and augmentations: ours obey them, and they find faults."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
import torch
from torch import Tensor

import normlab
from normlab.laws.checking import BROKEN, OK, check_part
from normlab.specs.augmentations import AUGMENTATIONS
from normlab.specs.optimizers import OPTIMIZERS
from normlab.specs.registries import Registry
from normlab.specs.schedules import SCHEDULES
from tests.normlab.plugins.test_recipes import MINE

pytestmark = pytest.mark.usefixtures("no_plugins")

OURS: tuple[Registry[Any], ...] = (OPTIMIZERS, SCHEDULES, AUGMENTATIONS)
NAMES = [(registry.part, name) for registry in OURS for name in registry.own]


@pytest.mark.parametrize(("part", "name"), NAMES)
def test_ours_obey_them(part: str, name: str) -> None:
    assert [found for found in check_part(part, name) if found.verdict != OK] == []


class Uphill(torch.optim.SGD):
    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, lr, maximize=True)


class Forgetful(torch.optim.SGD):
    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, lr)
        self.calls = 0

    def step(self, closure: Any = None) -> None:
        self.calls += 1
        for group in self.param_groups:
            group["lr"] = 0.1 / self.calls
        super().step()


class Clumsy(torch.optim.SGD):
    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, lr)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for p in self.param_groups[0]["params"]:
            p.sub_(p.grad)


_count = itertools.count()


def sinking(progress: float) -> float:
    return 0.5 - progress


def counting(progress: float) -> float:
    return float(next(_count))


def shorter(x: Tensor, u: Tensor) -> Tensor:
    return x[1:]


def in_place(x: Tensor, u: Tensor) -> Tensor:
    return x.add_(1)


def noisy(x: Tensor, u: Tensor) -> Tensor:
    return x + torch.rand_like(x)


def together(x: Tensor, u: Tensor) -> Tensor:
    return x - x.mean(0, keepdim=True)


def doubled(x: Tensor, y: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    return x, 2 * y


@pytest.mark.parametrize(
    ("part", "target", "law"),
    [
        ("optimizer", Uphill, "downhill"),
        ("optimizer", Forgetful, "state dict"),
        ("optimizer", Clumsy, "without gradient"),
        ("schedule", sinking, "a factor"),
        ("schedule", counting, "determinism"),
        ("augmentation", shorter, "shape and dtype"),
        ("augmentation", in_place, "shape and dtype"),
        ("augmentation", noisy, "determinism"),
        ("augmentation", together, "each sample alone"),
        ("augmentation", doubled, "targets"),
    ],
)
def test_what_breaks_a_law_is_told_which(part: str, target: Callable[..., Any], law: str) -> None:
    name = f"a_{target.__name__.lower()}_one"
    getattr(normlab, part)(name)(target)
    (found,) = check_part(part, name, [law])
    assert (found.verdict, bool(found.detail)) == (BROKEN, True), found


BOTH = """
from pathlib import Path
import pytest
from normlab.laws.checking import main
print("ended", main(Path("mine.py")))
pytest.main(["-p", "no:cacheprovider", "-q", "--color=no", "--norms", "mine.py"])
"""


def test_the_command_and_pytest_check_the_parts_of_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    command = [sys.executable, "-c", BOTH]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    broken = [(one["kind"], one["law"]) for one in found if one["verdict"] == BROKEN]
    assert broken == [("my_sign", "without gradient")]
    assert {one["kind"] for one in found} >= {"my_sgd", "my_saw", "my_noise", "my_dark", "my_pairs"}
    assert "ended 1" in lines
    assert any("my_sign breaks the law 'without gradient'" in line for line in lines)
    assert lines[-1].startswith(f"1 failed, {len(found) - 1} passed")
