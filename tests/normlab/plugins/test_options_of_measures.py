"""A user's own tasks, metrics and hooks take options, like normalizers and networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import pytest
from pydantic import ValidationError

from normlab.plugins.loading import load, use
from normlab.specs.job_rules import check
from normlab.specs.jobs import JobSpec
from normlab.specs.problems import explain
from tests.normlab.plugins.authors import source
from tests.normlab.plugins.test_measures import ANGLES, MINE
from tests.normlab.training.recording import train

pytestmark = pytest.mark.usefixtures("no_plugins")

WITH_OPTIONS = (
    MINE.replace("class Angles:", "class OldAngles:").replace('"angles", classes', '"old", classes')
    + '''
from pydantic import Field
from typing_extensions import Annotated, Literal


@normlab.task("angles", classes=False)
class Angles:
    """The squared error, weighted."""

    def __init__(self, weight: Annotated[float, Field(gt=0, le=100)] = 1.0):
        self.weight = weight

    def loss(self, output, y):
        return self.weight * (output[:, 0] - y).square().mean()


@normlab.metric("val/within")
def within(output, y, *, tolerance: Annotated[float, Field(ge=0)] = 0.5):
    """The share of the predictions that are close."""
    return (output[:, 0] - y).abs() <= tolerance


@normlab.metric("val/moment")
class MomentOf:
    """A moment of the predictions."""

    def __init__(self, order: Annotated[int, Field(ge=1, le=4)], of: Literal["y", "output"] = "y"):
        self.order, self.of = order, of

    def tally(self, output, y):
        found = y if self.of == "y" else output[:, 0]
        return torch.stack([found.pow(self.order).sum().double(), torch.tensor(len(y)).double()])

    def value(self, sums):
        return float(sums[0] / sums[1])


@normlab.hook("set_weights")
class Set:
    """Every weight is one number."""

    def __init__(self, to: float = 0.0):
        self.to = to

    def after_update(self, moment):
        with torch.no_grad():
            for p in moment.model.parameters():
                p.fill_(self.to)
'''
)
JOB: Dict[str, Any] = {**ANGLES, "epochs": 1, "threads": 1}


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path) -> str:
    found = load(source("mine.py", WITH_OPTIONS).written_below(tmp_path / "code"), "mine.py")
    use([found])
    return found.digest


def job(**fields: Any) -> JobSpec:
    return JobSpec.model_validate({**JOB, **fields})


def problems(**fields: Any) -> Dict[str, str]:
    with pytest.raises(ValidationError) as refused:
        job(**fields)
    return {p.field: p.rule for p in explain(refused.value.errors(), fields, JobSpec)}


def test_options_reach_the_loss_the_metrics_and_the_hooks(tmp_path: Path) -> None:
    moment = {"name": "val/moment", "order": 1, "of": "output"}
    near = {"name": "val/within", "tolerance": 0.0}
    spec = job(
        task={"weight": 50}, metrics=[moment, near], hooks=[{"name": "set_weights", "to": 0.25}]
    )
    recorder, _ = train(spec, tmp_path)
    weighted = recorder.points["val/loss"][-1][1]
    assert recorder.points["val/within"][-1][1] == 0
    assert recorder.points["val/moment"][-1][1] > 0.25  # every weight and the bias are .25
    plain, _ = train(job(hooks=[{"name": "set_weights", "to": 0.25}]), tmp_path / "plain")
    assert weighted == pytest.approx(50 * plain.points["val/loss"][-1][1])


def test_a_bare_name_is_the_part_with_its_defaults_and_options_count() -> None:
    bare = job(metrics=["val/within"])
    assert bare.metrics[0].options == {"tolerance": 0.5}
    assert bare.fingerprint() == job(metrics=[{"name": "val/within"}]).fingerprint()
    other = job(metrics=[{"name": "val/within", "tolerance": 0.25}])
    assert other.fingerprint() != bare.fingerprint()
    assert job(task={"weight": 2}).fingerprint() != job().fingerprint()
    assert JobSpec.model_validate(other.model_dump(mode="json")) == other
    assert job(metrics=["val/within", "val/within"]).metrics == bare.metrics


def test_parts_without_options_are_written_as_they_were() -> None:
    written = job(metrics=["val/top2"], hooks=[{"name": "clamp_weights"}]).model_dump(mode="json")
    assert (written["metrics"], written["hooks"]) == (["val/top2"], ["clamp_weights"])
    assert JobSpec(normalizer="batch").model_dump(mode="json")["task"] == {}


def test_wrong_options_are_refused_with_field_and_rule() -> None:
    assert (
        "less than or equal to 4"
        in (problems(metrics=[{"name": "val/moment", "order": 9}])["metrics.0.order"])
    )
    assert "required" in problems(metrics=["val/moment"])["metrics.0.order"]
    assert (
        "did you mean 'tolerance'"
        in (problems(metrics=["val/top2", {"name": "val/within", "tolerence": 1}])["metrics.1"])
    )
    assert "it has none" in problems(hooks=[{"name": "clamp_weights", "to": 1}])["hooks.0"]
    twice = [{"name": "val/moment", "order": 1}, {"name": "val/moment", "order": 2}]
    assert "twice with different options" in problems(metrics=twice)["metrics"]
    assert "a name, or an object" in problems(metrics=[3])["metrics.0"]
    assert "required" in problems(hooks=[{"to": 1}])["hooks.0.name"]


def test_the_options_of_a_task_are_checked_with_the_dataset_that_has_it() -> None:
    def refused(**fields: Any) -> Dict[str, str]:
        return {problem.field: problem.rule for problem in check(job(**fields), None)}

    assert "greater than 0" in refused(task={"weight": -1})["task.weight"]
    assert "did you mean 'weight'" in refused(task={"wait": 1})["task"]
    ours = refused(dataset={"name": "digits"}, model={"name": "convnet"}, task={"weight": 1})
    assert ours == {"task": "the task 'classification' has no option 'weight'; it has none"}
    assert refused(task={"weight": 2}) == {}
