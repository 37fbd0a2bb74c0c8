"""A user's own optimizers, schedules and augmentations work in a job like the built-in ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import normlab
from normlab.errors import InvalidSpec
from normlab.plugins.describing import Trouble
from normlab.plugins.descriptions import PluginDescription
from normlab.plugins.loading import load, use
from normlab.specs import registries
from normlab.specs.job_rules import check
from normlab.specs.jobs import JobSpec
from normlab.specs.optimizers import OPTIMIZERS
from tests.normlab.plugins.authors import described, source
from tests.normlab.training.recording import small_job, train
from tests.normlab.training.test_resume import check_resume

pytestmark = pytest.mark.usefixtures("no_plugins")

MINE = '''
import torch
import normlab
from pydantic import Field
from typing_extensions import Annotated


@normlab.optimizer("my_sign")
class Sign(torch.optim.Optimizer):
    """The sign of a mean of gradients."""

    def __init__(self, params, lr: float = 0.002, share: Annotated[float, Field(ge=0, lt=1)] = 0.5):
        super().__init__(params, {"lr": lr, "share": share})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                mean.lerp_(p.grad, 1 - group["share"])
                p.sub_(group["lr"] * mean.sign())


@normlab.optimizer("my_sgd")
def my_sgd(groups, lr: float, weight_decay: float = 0.0):
    """Torch's own."""
    return torch.optim.SGD(groups, lr, weight_decay=weight_decay)


@normlab.schedule("my_saw")
def saw(done, steps_per_epoch, *, low: Annotated[float, Field(ge=0, le=1)] = 0.1):
    """Fall from 1 to low within every epoch."""
    return 1 - (1 - low) * (done % steps_per_epoch) / steps_per_epoch


@normlab.augmentation("my_noise", draws=2)
def noise(x, u, *, strength: float = 0.1):
    """Shift each sample by a number of its own."""
    return x + strength * (u[:, :1, None, None] - 0.5)


@normlab.augmentation("my_dark", pixels=True, tasks=("classification", "segmentation"))
class Dark:
    """Multiply by a number, at least *least*."""

    def __init__(self, least: Annotated[float, Field(ge=0, le=1)] = 0.5):
        self.least = least

    def draw(self, n, generator):
        return self.least + (1 - self.least) * torch.rand(n, 1, 1, 1, generator=generator)

    def __call__(self, x, drawn):
        assert float(x.min()) > -1e-5 and float(x.max()) < 1 + 1e-5
        return x * drawn


@normlab.augmentation("my_pairs")
def pairs(x, y, u):
    """The mean of each sample and the one before it."""
    return (x + x.roll(1, 0)) / 2, (y + y.roll(1, 0)) / 2
'''
RECIPE: dict[str, Any] = {
    "optimizer": {"name": "my_sign", "share": 0.8},
    "schedule": {"name": "my_saw", "low": 0.2, "warmup_epochs": 0.5},
    "augmentations": ["my_noise", {"name": "my_dark", "least": 0.9}, "my_pairs"],
}


@pytest.fixture
def mine(tmp_path: Path) -> PluginDescription:
    found = load(source("mine.py", MINE).written_below(tmp_path / "code"), "mine.py")
    use([found])
    return found


def problems(**fields: Any) -> dict[str, str]:
    spec = JobSpec.model_validate({"normalizer": "batch", **fields})
    return {problem.field: problem.rule for problem in check(spec, None)}


def test_a_recipe_of_ones_own_resumes_with_the_same_bits(
    mine: PluginDescription, tmp_path: Path
) -> None:
    check_resume(tmp_path, RECIPE)


def test_the_rate_is_the_plugins_and_the_schedule_moves_it(
    mine: PluginDescription, tmp_path: Path
) -> None:
    recorder, _ = train(small_job(**RECIPE), tmp_path)
    rates = dict(recorder.points["train/learning_rate"])
    assert rates[6] == pytest.approx(0.002)  # the end of the warm-up
    assert rates[13] == pytest.approx(0.002)
    assert rates[19] == pytest.approx(0.002 * 0.6)


def test_each_part_that_a_job_uses_is_its_code(mine: PluginDescription) -> None:
    for field, value in RECIPE.items():
        spec = small_job(**{field: value})
        assert spec.code == (mine.digest,)
    assert small_job().code == ()


def test_options_are_checked_at_the_door(mine: PluginDescription) -> None:
    for fields in (
        {"optimizer": {"name": "my_sign", "share": 1}},
        {"optimizer": {"name": "my_sgd"}, "schedule": {"name": "my_saw", "high": 1}},
        {"augmentations": [{"name": "my_dark", "least": 2}]},
    ):
        with pytest.raises(ValidationError):
            small_job(**fields)
    found = problems(
        optimizer={"name": "my_sign", "weight_decay": 0.1, "batch_scaling": "time_constant"}
    )
    assert set(found) == {"optimizer.weight_decay", "optimizer.batch_scaling"}
    assert problems(optimizer={"name": "my_sgd", "weight_decay": 0.1}) == {}
    assert set(problems(device="ipu", optimizer="my_sgd")) == {"optimizer.name"}
    dense = {"model": {"name": "unet"}, "dataset": {"name": "scenes32"}}
    refused = problems(augmentations=["my_dark", "my_noise", "my_pairs"], **dense)
    assert set(refused) == {"augmentations.1", "augmentations.2"}


def test_the_defaults_of_an_optimizer_are_its_authors(mine: PluginDescription) -> None:
    assert small_job(optimizer="my_sign").optimizer.lr == 0.002
    assert OPTIMIZERS["my_sign"].__doc__ == "The sign of a mean of gradients."
    assert small_job(optimizer={"name": "my_sign", "clip_norm": 1}).optimizer.clips


def test_a_stored_job_is_read_where_the_code_is_not_known(mine: PluginDescription) -> None:
    stored = small_job(**RECIPE).model_dump(mode="json")
    registries.put_in_force([])
    assert JobSpec.from_store(stored).model_dump(mode="json") == stored
    with pytest.raises(ValidationError, match="'my_sign' is unknown"):
        JobSpec.model_validate({**stored, "code": []})


def test_the_description_is_enough_for_the_door(mine: PluginDescription) -> None:
    again = PluginDescription.model_validate_json(mine.model_dump_json())
    spec = small_job(**RECIPE)
    registries.put_in_force([again.plugin()])
    assert small_job(**RECIPE).fingerprint() == spec.fingerprint()


def test_a_schema_describes_parts_with_the_same_name(tmp_path: Path) -> None:
    text = MINE.replace('"my_saw"', '"my_sign"').replace('"my_dark"', '"my_sign"')
    use([load(source("same.py", text).written_below(tmp_path), "same.py")])
    schema = json.dumps(JobSpec.model_json_schema())
    for part in ("optimizer", "schedule", "augmentation"):
        assert schema.count(f'"title": "my_sign_{part}"') == 1


@pytest.mark.parametrize(
    ("field", "code", "said"),
    [
        (
            "schedule",
            "@normlab.schedule('nothing')\ndef nothing(progress):\n    return float('nan')",
            "schedule 'nothing' returned nan for update 1",
        ),
        (
            "optimizer",
            "@normlab.optimizer('nothing')\ndef nothing(groups, lr: float):\n    return 3",
            "optimizer 'nothing' made int",
        ),
        (
            "augmentations",
            "@normlab.augmentation('nothing')\ndef nothing(x, u):\n    return x[:-1]",
            "augmentation 'nothing' returned (7, 1, 16, 16)",
        ),
    ],
)
def test_what_code_returns_is_checked_in_the_training(
    field: str, code: str, said: str, tmp_path: Path
) -> None:
    use([load(source("n.py", f"import normlab\n{code}").written_below(tmp_path / "c"), "n.py")])
    value: Any = ["nothing"] if field == "augmentations" else "nothing"
    with pytest.raises(InvalidSpec) as caught:
        train(small_job(**{field: value}), tmp_path / "run")
    assert said in str(caught.value)


MIXABLE = '''
import torch
from torch import nn
import normlab


@normlab.task("steepness", classes=False, mixes=True)
class Steepness:
    """The squared error."""

    def loss(self, output, y):
        return (output[:, 0] - y).square().mean()


@normlab.dataset("slopes", num_classes=1, channels=1, image_size=8, task="steepness")
def slopes(split):
    """How steep a ramp is."""
    return [(torch.linspace(0, i / 32, 8).expand(1, 8, 8).clone(), i / 32) for i in range(32)]


@normlab.network("plane", task="steepness")
def plane(norm, in_channels, num_classes):
    """A line."""
    return nn.Sequential(norm(in_channels), nn.Flatten(), nn.Linear(64, num_classes))
'''


def test_a_task_that_says_so_has_its_samples_mixed(tmp_path: Path) -> None:
    use([load(source("mixable.py", MIXABLE).written_below(tmp_path / "c"), "mixable.py")])
    fields: dict[str, Any] = {
        "model": {"name": "plane"},
        "dataset": {"name": "slopes"},
        "optimizer": {"lr": 0.005},
        "augmentations": ["mixup"],
    }
    assert problems(**fields) == {}
    _, summary = train(small_job(**fields), tmp_path / "run")
    assert isinstance(summary, dict)
    refused = problems(**{**fields, "loss": {}})
    assert "steepness has a loss of its own" in refused["loss"]


WRONG = {
    "no_rate.py": ("optimizer('a')\ndef f(params): ...", "takes the groups of parameters first"),
    "taken.py": ("optimizer('sgd')\ndef f(params, lr): ...", "'sgd' is normlab's own"),
    "bare.py": ("optimizer('a')\ndef f(params, lr, speed): ...", "an option needs an annotation"),
    "has_it.py": (
        "optimizer('a')\ndef f(params, lr, clip_norm: float = 1.0): ...",
        "every optimizer has 'clip_norm' in a job already",
    ),
    "no_time.py": ("schedule('a')\ndef f(x: float = 1.0): ...", "a function of one or more of"),
    "class.py": ("schedule('a')\nclass F:\n    def __init__(self, done): ...", "is a function of"),
    "order.py": ("augmentation('a')\ndef f(u, x): ...", "a function of (x, u, *, options...)"),
    "no_draw.py": (
        "augmentation('a')\nclass F:\n    def __call__(self, x, d): ...",
        "must have draw",
    ),
    "draws.py": ("augmentation('a', draws=0)\ndef f(x, u): ...", "draws=0: give an integer"),
    "name.py": ("schedule('A b')\ndef f(done): ...", "'A b' is not a name for a schedule"),
}


def test_what_cannot_be_used_is_named_when_it_is_described(tmp_path: Path) -> None:
    sources = [source(n, f"import normlab\n@normlab.{text}\n") for n, (text, _) in WRONG.items()]
    for one, found in zip(sources, described(sources, tmp_path)):
        assert isinstance(found, Trouble), one.name
        assert WRONG[one.name][1] in found.reason


def test_parts_can_be_declared_in_a_script() -> None:
    def halves(progress: float, *, to: float = 0.5) -> float:
        return 1 if progress < to else 0.5

    normlab.schedule("halves_of_mine")(halves)
    spec = small_job(schedule={"name": "halves_of_mine", "to": 0.25})
    assert spec.schedule.own == {"to": 0.25}
