"""Replicas that each hold a part of a model train it like replicas that hold the whole model."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from accelerators.shards import blocks
from normlab.nets import build
from normlab.specs import sharding
from tests.accelerators import sharded_program as program
from tests.normlab.training.recording import small_job

pytestmark = pytest.mark.skipif(
    not sharding.has_engine(torch.__version__),
    reason=f"torch {torch.__version__} has no fully_shard",
)
_FORM = ("foreach", "fused", "sharded")  # of the same numbers


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Train all cases in one pair of processes."""
    folder = tmp_path_factory.mktemp("sharded")
    command = [sys.executable, "-m", "tests.accelerators.sharded_program", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return torch.load(folder / "found.pt", weights_only=True)


def _numbers(state: Any) -> Any:
    if isinstance(state, dict):
        return {name: _numbers(value) for name, value in state.items() if name not in _FORM}
    return [_numbers(value) for value in state] if isinstance(state, list) else state


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [*program.KINDS, *program.OTHERS])
def test_shards_train_what_whole_models_do_in_float64(name: str, found: Any) -> None:
    whole, sharded = (_numbers(found[name][how]) for how in ("whole", "sharded"))
    assert any(value.dtype == torch.float64 for value in whole["weights"].values())
    torch.testing.assert_close(sharded, whole, rtol=0, atol=1e-10)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", program.RESUMED)
def test_shards_resume_to_the_bit(name: str, found: Any) -> None:
    torch.testing.assert_close(found[name]["resumed"], found[name]["sharded"], rtol=0, atol=0)


def test_a_model_is_gathered_in_parts_of_at_least_an_eighth() -> None:
    spec = small_job(model={"name": "resnet18", "width": 8})
    model = build(spec.model, spec.normalizer, 3, 10, 32)
    sizes = [sum(p.numel() for p in block.parameters()) for block in blocks(model)]
    whole = sum(p.numel() for p in model.parameters())
    assert len(sizes) >= 2
    assert min(sizes) >= whole / 8
    assert max(sizes) < whole


def test_tied_parameters_stay_with_the_whole_model() -> None:
    tied = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(3)))
    assert len(blocks(tied)) == 3
    tied[2].weight = tied[0].weight
    assert blocks(tied) == [tied[1]]
