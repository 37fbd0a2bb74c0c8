"""A user's own tasks, metrics, hooks and diagnostics work in a training like the built-in ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import normlab
from normlab.errors import InvalidSpec
from normlab.plugins.describing import Trouble
from normlab.plugins.loading import load, use
from normlab.specs.job_rules import check
from normlab.specs.jobs import JobSpec
from normlab.training.tasks import measures_of
from tests.normlab.plugins.authors import described, source
from tests.normlab.training.recording import small_job, train

pytestmark = pytest.mark.usefixtures("no_plugins")

MINE = '''
import torch
from torch import nn
import normlab


@normlab.metric("val/top2")
def top2(output, y):
    """Share of the samples whose class is among the two largest."""
    return (output.topk(2, dim=1).indices == y[:, None]).any(1)


@normlab.metric("val/largest")
class Largest:
    """The largest class that is predicted."""

    def tally(self, output, y):
        return torch.bincount(output.argmax(1), minlength=output.shape[1])

    def value(self, sums):
        return int(sums.nonzero().max())


@normlab.hook("clamp_weights")
class Clamp:
    """Keep every weight within one hundredth."""

    def after_update(self, moment):
        with torch.no_grad():
            for p in moment.model.parameters():
                p.clamp_(-0.01, 0.01)

    def after_epoch(self, moment):
        moment.metric("clamp/largest", max(p.abs().max().item() for p in moment.model.parameters()))


@normlab.diagnostic("dice")
class Dice:
    """Draw a number, and leave the model in evaluation."""

    def after_epoch(self, moment):
        moment.model.eval()
        moment.metric("dice/number", torch.rand(()).item())


@normlab.task("angles", classes=False, predicts="a number")
class Angles:
    """The squared error."""

    def loss(self, output, y):
        return (output[:, 0] - y).square().mean()


@normlab.dataset("ramps", num_classes=1, channels=1, image_size=8, task="angles")
def ramps(split):
    """How steep a ramp is."""
    return [(torch.linspace(0, i / 32, 8).expand(1, 8, 8).clone(), i / 32) for i in range(32)]


@normlab.network("flat", task="angles")
def flat(norm, in_channels, num_classes):
    """A line."""
    return nn.Sequential(norm(in_channels), nn.Flatten(), nn.Linear(64, num_classes))
'''
ANGLES: dict[str, Any] = {
    "normalizer": "none",
    "model": {"name": "flat"},
    "dataset": {"name": "ramps"},
    "batch_size": 8,
    "epochs": 20,
    "optimizer": {"name": "sgd", "lr": 0.005},
}


@pytest.fixture
def digest(tmp_path: Path) -> str:
    found = load(source("mine.py", MINE).written_below(tmp_path / "code"), "mine.py")
    use([found])
    return found.digest


def problems(**fields: Any) -> dict[str, str]:
    spec = JobSpec.model_validate({"normalizer": "batch", **fields})
    return {problem.field: problem.rule for problem in check(spec, None)}


def test_metrics_are_reported_after_those_of_the_task(digest: str, tmp_path: Path) -> None:
    spec = small_job(metrics=["val/top2", "val/largest"])
    assert spec.code == (digest,)
    recorder, summary = train(spec, tmp_path)
    assert isinstance(summary, dict)
    found = [name for name in recorder.points if name.startswith("val/")]
    assert found == ["val/loss", "val/accuracy", "val/top2", "val/largest"]
    assert summary["val/accuracy"] <= summary["val/top2"] <= 1
    assert summary["val/largest"] in range(10)


def test_a_metric_that_is_not_asked_for_changes_no_job(digest: str) -> None:
    plain = small_job()
    assert plain.code == ()
    assert small_job(metrics=[]).fingerprint() == plain.fingerprint()
    assert small_job(metrics=["val/top2"]).fingerprint() != plain.fingerprint()
    assert small_job(hooks=["clamp_weights"]).code == (digest,)
    assert small_job(diagnostics=["dice"]).code == (digest,)


def test_a_hook_may_change_weights_and_report(digest: str, tmp_path: Path) -> None:
    recorder, _ = train(small_job(hooks=["clamp_weights"]), tmp_path)
    assert [v for _, v in recorder.points["clamp/largest"]] == [pytest.approx(0.01)] * 2


def test_a_diagnostic_changes_no_bit_of_a_training(digest: str, tmp_path: Path) -> None:
    plain, _ = train(small_job(), tmp_path / "plain")
    watched, _ = train(small_job(diagnostics=["dice"]), tmp_path / "watched")
    assert len(watched.points["dice/number"]) > 0
    assert watched.points["train/loss"] == plain.points["train/loss"]


def test_a_task_of_numbers_has_a_loss_and_no_accuracy(digest: str, tmp_path: Path) -> None:
    spec = JobSpec.model_validate({**ANGLES, "threads": 1})
    assert spec.code == (digest,)
    recorder, summary = train(spec, tmp_path)
    assert isinstance(summary, dict), summary
    assert [name for name in summary if "accuracy" in name] == []
    assert recorder.points["val/loss"][-1][1] < 0.5 * recorder.points["val/loss"][0][1]


def test_what_does_not_fit_together_is_refused_at_the_door(digest: str) -> None:
    assert problems(**{**ANGLES, "model": {"name": "preresnet8"}})["model.name"] == (
        "preresnet8 is for classification and ramps for angles; use flat, or another dataset"
    )
    assert "takes none" in problems(**ANGLES, label_smoothing=0.1)["label_smoothing"]
    assert "'ablation' counts" in problems(**ANGLES, diagnostics=["ablation"])["diagnostics"]
    assert "not for angles" in problems(**ANGLES, metrics=["val/jaccard"])["metrics"]
    assert (
        "unknown name 'val/top9'; choose from val/jaccard"
        in (problems(metrics=["val/top9"])["metrics"])
    )
    assert "use cpu or cuda" in problems(hooks=["clamp_weights"], device="ipu")["hooks"]
    use([])
    assert "choose from none, because nobody has added one" in problems(hooks=["clamp"])["hooks"]


def test_a_metric_that_returns_no_tensor_is_told_so(digest: str) -> None:
    from normlab.training.tasks import _summed

    with pytest.raises(InvalidSpec, match=r"val/x returned 3; return a tensor"):
        _summed("val/x", lambda output, y: 3, torch.zeros(2, 3), torch.zeros(2))


HEAD = "import normlab\n"
BROKEN_MEASURES = {
    "name.py": (HEAD + "@normlab.metric('top5')\ndef f(o, y): ...\n", "begin it with val/"),
    "takes.py": (HEAD + "@normlab.metric('val/a')\ndef f(o): ...\n", "a function of (output, y)"),
    "half.py": (
        HEAD + "@normlab.metric('val/a')\nclass A:\n    def tally(self, o, y): ...\n",
        "must be a class with tally and value",
    ),
    "ours.py": (HEAD + "@normlab.metric('val/jaccard')\ndef f(o, y): ...\n", "normlab's own"),
    "idle.py": (HEAD + "@normlab.hook('idle')\nclass A: ...\n", "would never run"),
    "asks.py": (
        HEAD + "@normlab.hook('asks')\nclass A:\n    def __init__(self, path): ...\n"
        "    def at_end(self, moment): ...\n",
        "an option needs an annotation",
    ),
    "looks.py": (
        HEAD + "@normlab.diagnostic('looks')\nclass A:\n    def __init__(self, k: int = 1): ...\n"
        "    def at_end(self, moment): ...\n",
        "a diagnostic takes no arguments",
    ),
    "named.py": (
        HEAD + "@normlab.metric('val/a')\ndef f(o, y, *, name: str = ''): ...\n",
        "choose another name for the option",
    ),
    "lossless.py": (HEAD + "@normlab.task('t')\nclass A: ...\n", "must be a class with loss"),
    "splitless.py": (
        HEAD + "@normlab.dataset('d', num_classes=2, channels=1, image_size=8)\ndef d(): ...\n",
        "a dataset's factory takes split",
    ),
    "sizeless.py": (
        HEAD + "@normlab.dataset('d', num_classes=2, channels=1)\ndef d(split): ...\n",
        "missing 1 required keyword-only argument: 'image_size'",
    ),
    "twice.py": (
        HEAD + 2 * "@normlab.hook('h')\nclass A:\n    def at_end(self, moment): ...\n",
        "the hook 'h' is declared twice",
    ),
}


def test_broken_parts_are_refused_when_they_are_described(tmp_path: Path) -> None:
    sources = [source(name, text) for name, (text, _) in BROKEN_MEASURES.items()]
    found = described(sources, tmp_path)
    for (name, (_, reason)), one in zip(BROKEN_MEASURES.items(), found):
        assert isinstance(one, Trouble), name
        assert reason in one.reason, (name, one.reason)


def test_a_metric_may_put_the_batches_together_itself() -> None:
    @normlab.metric("val/median")
    class Median:
        def tally(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return output.amax(1)

        def whole(self, tallies: list[torch.Tensor]) -> torch.Tensor:
            return torch.cat(tallies)

        def value(self, largest: torch.Tensor) -> float:
            return float(largest.median())

    measure = measures_of(small_job(metrics=["val/median"]))["val/median"]
    outputs = [torch.tensor([[1.0, 0], [9, 0]]), torch.tensor([[2.0, 0]])]
    y = torch.zeros(2, dtype=torch.int64)
    tallies = [measure.tally(output, y[: len(output)]) for output in outputs]
    assert measure.value(measure.whole(tallies)) == 2
