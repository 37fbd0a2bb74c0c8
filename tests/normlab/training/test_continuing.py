"""A training that continues another's checkpoint ends like one longer training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import normlab
from normlab.errors import CheckpointUnusable
from normlab.plugins.loading import load
from normlab.specs import registries
from normlab.specs.jobs import JobSpec
from normlab.training.checkpoints import CheckpointFolder, NamedCheckpoint
from normlab.training.continuing import differences, too_short
from tests.normlab.plugins.authors import mine
from tests.normlab.training.recording import small_job, train
from tests.normlab.training.test_resume import TIMED, assert_same, final_state, stopper

CONTINUES = {"job": "01890000-0000-7000-8000-000000000000", "step": 12, "sha256": "0" * 64}
STEP = {"name": "step", "milestones": [0.6], "gamma": 0.5}
WAYS: dict[str, dict[str, Any]] = {
    "constant": {"schedule": "constant", "normalizer": "online"},
    "warm-up": {
        "schedule": {"name": "constant", "warmup_epochs": 0.5},
        "augmentation": {"crop": 2, "flip": True},
        "normalizer": "streaming",
    },
}


def earlier(spec: JobSpec, recorder: Any) -> NamedCheckpoint:
    last = recorder.named_checkpoints()[-1]
    return NamedCheckpoint(last.step, last.path, last.sha256, spec.fingerprint())


@pytest.mark.parametrize("way", WAYS)
def test_a_continued_training_ends_with_the_bits_of_the_longer_one(
    way: str, tmp_path: Path
) -> None:
    fields = WAYS[way]
    short, at_once = small_job(**fields, epochs=1), small_job(**fields, epochs=3)
    assert differences(short, at_once, 12, 12) == []
    whole, summary = train(at_once, tmp_path / "whole")
    first, _ = train(short, tmp_path / "first")
    longer = small_job(**fields, epochs=3, continues=CONTINUES)
    second, continued = train(longer, tmp_path / "second", resume=[earlier(short, first)])
    assert second.events("Started")[0].step == 12
    assert_same(final_state(second), final_state(whole))
    for name, points in whole.points.items():
        if name not in TIMED:
            assert second.points[name] == [p for p in points if p[0] > 12], name
    assert isinstance(summary, dict)
    assert isinstance(continued, dict)
    assert continued["val/accuracy"] == summary["val/accuracy"]


def test_a_training_that_stopped_before_its_first_drop_goes_on_as_a_longer_one(
    tmp_path: Path,
) -> None:
    fields = {"schedule": STEP, "optimizer": "adamw"}
    short, at_once = small_job(**fields, epochs=1), small_job(**fields, epochs=2)
    assert differences(short, at_once, 5, 12) == []
    whole, _ = train(at_once, tmp_path / "whole")
    first, _ = train(short, tmp_path / "first", should_stop=stopper(5))
    longer = small_job(**fields, epochs=2, continues={**CONTINUES, "step": 5})
    second, _ = train(longer, tmp_path / "second", resume=[earlier(short, first)])
    assert second.events("Started")[0].step == 5
    assert_same(final_state(second), final_state(whole))


def test_the_earlier_jobs_checkpoint_is_not_deleted_and_must_be_whole(tmp_path: Path) -> None:
    short = small_job(schedule="constant", epochs=1)
    first, _ = train(short, tmp_path / "first")
    named = earlier(short, first)
    longer = small_job(schedule="constant", epochs=4, continues=CONTINUES,
                       checkpoint={"every_steps": 6, "keep": 1})  # fmt: skip
    train(longer, tmp_path / "second", resume=[named])
    assert named.path.exists()
    content = named.path.read_bytes()
    named.path.write_bytes(content[:-1])
    with pytest.raises(CheckpointUnusable, match="cannot continue from another job's checkpoint"):
        train(longer, tmp_path / "third", resume=[named])
    named.path.write_bytes(content)
    with pytest.raises(CheckpointUnusable, match="its spec differs"):
        CheckpointFolder(tmp_path, "x", [replace(named, fingerprint=None)]).load()


@pytest.mark.parametrize(
    ("fields", "field", "rule"),
    [
        ({"schedule": "cosine"}, "schedule", "'cosine' depends on the length of the training"),
        ({"schedule": STEP, "epochs": 2}, "schedule", "update 16 would have had 1 of"),
        ({"normalizer": "sparse_switchable"}, "normalizer", "the finished share"),
        ({"ema": {"decay": 0.9, "start": 0.5}}, "ema.start", "from the share 0.5"),
        ({"schedule": "polynomial"}, "schedule", "'polynomial' depends on the length"),
        ({"max_steps": 7}, "max_steps", "7 updates end within an epoch of 12"),
    ],
)
def test_where_a_longer_training_would_have_gone_another_way_the_reason_is_said(
    fields: dict[str, Any], field: str, rule: str
) -> None:
    before = small_job(**{"schedule": "constant", "epochs": 1, **fields})
    after = before.model_copy(update={"epochs": 6, "max_steps": None})
    done = min(12 * before.epochs, before.max_steps or 10_000)
    (problem,) = differences(before, after, done, 12)
    assert problem.field == field
    assert rule in problem.rule
    assert "--anyway" in problem.rule


def test_what_a_layer_of_a_plugin_follows_is_not_known(tmp_path: Path, no_plugins: None) -> None:
    plugin = load(mine().written_below(tmp_path), "my_norms.py").plugin()
    registries.find_with({plugin.digest: plugin}.get)
    fields = {"normalizer": "dyt_of_mine", "code": [plugin.digest], "schedule": "constant"}
    before, after = small_job(**fields, epochs=1), small_job(**fields, epochs=2)
    (problem,) = differences(before, after, 12, 12)
    assert problem.field == "normalizer"
    assert "'dyt_of_mine' is from a plugin" in problem.rule


def test_the_rates_of_a_plugins_schedule_are_not_known(no_plugins: None) -> None:
    @normlab.schedule("flat_of_mine")
    def flat(progress: float) -> float:
        return 1.0

    before = small_job(schedule="flat_of_mine", epochs=1)
    after = before.model_copy(update={"epochs": 2})
    (problem,) = differences(before, after, 12, 12)
    assert problem.field == "schedule"
    assert "'flat_of_mine' is from a plugin" in problem.rule


def test_a_drop_that_is_found_between_many_updates() -> None:
    before = small_job(schedule={"name": "step", "milestones": [0.5]}, epochs=100_000)
    after = before.model_copy(update={"epochs": 100_000 * 2})
    (problem,) = differences(before, after, 1_200_000, 12)
    assert "'step' depends on" in problem.rule


def test_no_more_updates_are_too_few() -> None:
    (problem,) = too_short(small_job(epochs=2), 24, 12)
    assert problem.field == "epochs"
    assert "24 updates in total were requested, and 24 are done" in problem.rule
    assert too_short(small_job(epochs=3), 24, 12) == []


def test_a_job_that_continues_is_another_cell() -> None:
    plain, longer = small_job(), small_job(continues=CONTINUES)
    assert plain.fingerprint() != longer.fingerprint()
