"""All our networks train in packs, for every task, with the same results as their jobs alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch

from normlab.errors import JobCancelled
from normlab.specs.jobs import JobSpec
from normlab.specs.models import MODELS
from normlab.specs.packs import obstacle, order_of_rows
from tests.accelerators.test_packs import Run, after, no_stop, run_pack
from tests.accelerators.test_whole_packs import assert_same, in_float64 as in_float64
from tests.normlab.training.recording import small_job, train
from tests.normlab.training.test_tasks import EXAMPLES

_PICTURES: Dict[str, Any] = {
    "dataset": {"name": "shapes32", "train_size": 8, "test_size": 4},
    "batch_size": 2,
}
CASES: Dict[str, Dict[str, Any]] = {
    "boxes": {**EXAMPLES["detection"], "normalizer": "batch"},
    "characters": EXAMPLES["language"],
    "characters, a state for each step": {**EXAMPLES["language"], "normalizer": "online"},
    "tokens": {**_PICTURES, "model": {"name": "vit", "width": 32}, "normalizer": "layer"},
    "tokens as positions": {
        **_PICTURES,
        "model": {"name": "vit", "width": 16},
        "normalizer": "batch",
    },
    "tokens, by member": {
        **_PICTURES,
        "model": {"name": "vit", "width": 16},
        "normalizer": {"kind": "weight", "include_linear": True},
    },
    "patches": {**_PICTURES, "model": {"name": "convnext", "width": 4}, "normalizer": "layer"},
}


def jobs(**fields: Any) -> List[JobSpec]:
    """Return two jobs of three updates."""
    given = {"device": "cpu", "epochs": 1, "max_steps": 3, **fields}
    return [small_job(**given, seed=s, optimizer={"lr": 0.01 * (s + 1)}) for s in range(2)]


@pytest.mark.parametrize("name", list(CASES))
def test_a_member_with_any_network_equals_its_job_alone(name: str, tmp_path: Path) -> None:
    specs = jobs(**CASES[name])
    for i, run in enumerate(run_pack(specs, tmp_path)):
        assert_same(run, train(specs[i], tmp_path / f"alone {i}")[0])


def test_steps_share_their_scales_where_members_differ_in_a_number(tmp_path: Path) -> None:
    specs = [
        spec.model_copy(
            update={"normalizer": spec.normalizer.model_copy(update={"alpha_forward": a})}
        )
        for spec, a in zip(jobs(**{**EXAMPLES["language"], "normalizer": "online"}), (0.9, 0.99))
    ]
    for i, run in enumerate(run_pack(specs, tmp_path)):
        assert_same(run, train(specs[i], tmp_path / f"alone {i}")[0])


def test_members_that_take_turns_in_their_options_each_get_their_own_results(
    tmp_path: Path,
) -> None:
    sizes = [None, 2, None, 2]  # side by side in the pack are the first and the third
    specs = [
        jobs(normalizer={"kind": "batch", "virtual_batch_size": size}, batch_size=4)[i % 2]
        for i, size in enumerate(sizes)
    ]
    specs = [spec.model_copy(update={"seed": seed}) for seed, spec in enumerate(specs)]
    assert order_of_rows(specs) == [0, 2, 1, 3]
    for i, run in enumerate(run_pack(specs, tmp_path)):
        assert_same(run, train(specs[i], tmp_path / f"alone {i}")[0])
    stops = [no_stop, after(1, JobCancelled("enough")), no_stop, no_stop]
    for i, run in enumerate(run_pack(specs, tmp_path / "fewer", stops)):
        if i != 1:
            assert_same(run, train(specs[i], tmp_path / f"alone {i}")[0])


def test_a_member_that_learns_a_style_follows_its_job_alone(tmp_path: Path) -> None:
    torch.set_default_dtype(torch.float32)  # in which the features of the loss are
    with pytest.MonkeyPatch.context() as patch:
        for session in ("torch_session.TorchSession", "pack_members.MemberSession"):
            patch.setattr(f"accelerators.{session}.place", lambda self, x: x)
        specs = jobs(**EXAMPLES["style"])
        for i, run in enumerate(run_pack(specs, tmp_path)):
            assert isinstance(run.outcome, dict), run.outcome
            alone = Run(train(specs[i], tmp_path / f"alone {i}")[0], None).weights()
            for weight, value in run.weights().items():
                torch.testing.assert_close(value, alone[weight], rtol=1e-4, atol=1e-5)


def test_every_network_of_ours_may_be_in_a_pack() -> None:
    ours = [name for name, facts in MODELS.items() if facts.package is None]
    spec = jobs()[0]
    for name in ours:
        model = spec.model.model_copy(update={"name": name})
        assert obstacle([spec.model_copy(update={"model": model})]) is None, name
