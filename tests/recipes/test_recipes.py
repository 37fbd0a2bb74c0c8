"""The files under recipes/ are valid jobs, and each trains in a small form."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from normlab.cli.specfile import read_spec
from normlab.data import Data, Split
from normlab.data.drawing import EASY
from normlab.data.shapes32 import draw
from normlab.specs.job_rules import check
from normlab.specs.jobs import JobSpec
from normlab.training import loop
from tests.normlab.training.recording import train

FILES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
every_recipe = pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
SMALL: dict[str, Any] = {
    "dataset": {"name": "shapes32", "train_size": 96, "test_size": 32},
    "device": "cpu",
    "precision": "float32",
    "batch_size": 16,
    "replicas": 1,
    "epochs": 6,
    "checkpoint": {"every_s": 3600},
}


@pytest.fixture(scope="module")
def shapes() -> Data:
    """Draw the first pictures of shapes32, and no others."""
    x, y = draw(128, seed=1, nuisance=EASY)
    mean, deviation = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
    x = (x - mean) / deviation
    return Data(Split(x[:96], y[:96]), Split(x[96:], y[96:]), 16, moments=(mean, deviation))


def small(path: Path) -> JobSpec:
    """Return the recipe with a small net, on small pictures, at the rate of its own batch."""
    whole = JobSpec.model_validate(read_spec(str(path), []))
    fields = {**read_spec(str(path), []), **SMALL}
    fields["model"] = {**fields["model"], "name": "resnet20", "width": 4}
    fields["optimizer"]["lr_reference_batch"] = whole.samples_per_update
    fields["schedule"]["warmup_epochs"] = 0.5
    fields["augmentations"][0]["size"] = 24
    return JobSpec.model_validate(fields)


def test_both_recipes_are_there() -> None:
    assert [path.stem for path in FILES] == ["timm-resnet50-a3", "torchvision-resnet50"]


@every_recipe
def test_a_recipe_is_a_valid_job_and_names_its_accuracy_and_source(path: Path) -> None:
    text = path.read_text()
    for word in (
        "# Published: ",
        "# Source: ",
        "# Not checked, from memory: ",
        "# Different here: ",
    ):
        assert word in text
    spec = JobSpec.model_validate(read_spec(str(path), []))
    assert check(spec, None) == []
    assert spec.samples_per_update == {"timm-resnet50-a3": 2048}.get(path.stem, 1024)


@every_recipe
def test_a_recipe_trains_in_a_small_form(
    path: Path, shapes: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "opened", lambda *_: nullcontext(shapes))  # not all of shapes32
    recorder, summary = train(small(path), tmp_path)
    assert isinstance(summary, dict)
    losses = [value for _, value in recorder.points["train/loss"]]
    half = len(losses) // 2
    assert sum(losses[half:]) < sum(losses[:half])
