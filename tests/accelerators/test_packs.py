"""Jobs trained as one pack: each equals the same job alone, and ends separately."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import pytest
import torch
from safetensors.torch import load_file

from accelerators.packs import Member, fit_pack
from normlab.errors import (
    InvalidSpec,
    JobCancelled,
    JobDrained,
    JobStopped,
    LossNotFinite,
    PackFellApart,
)
from normlab.specs.jobs import JobSpec
from normlab.training.checkpoints import CheckpointFolder, NamedCheckpoint
from tests.normlab.training.recording import Recorder, small_job, train

Resume = Sequence[Sequence[NamedCheckpoint]]


class Run(NamedTuple):
    """What a member reported, and how it ended."""

    recorder: Recorder
    outcome: Any

    def weights(self) -> Dict[str, torch.Tensor]:
        """Return the final weights."""
        return load_file(self.recorder.events("ArtifactWritten")[0].path)


def jobs(count: int = 3, **fields: Any) -> List[JobSpec]:
    """Return small jobs with seeds, rates and decays of their own, and random crops."""
    return [
        small_job(
            **{
                "augmentation": {"crop": 1},
                "device": "cpu",
                "seed": seed,
                "optimizer": {"lr": 0.02 * (seed + 1), "weight_decay": 0.01 * seed},
                **fields,
            }
        )
        for seed in range(count)
    ]


def no_stop() -> Optional[JobStopped]:
    """Ask for nothing."""
    return None


def run_pack(
    specs: Sequence[JobSpec],
    folder: Path,
    stops: Optional[Sequence[Callable[[], Optional[JobStopped]]]] = None,
    resume: Optional[Resume] = None,
    kind: str = "cpu",
) -> List[Run]:
    """Train *specs* as a pack below *folder*."""
    recorders = [Recorder() for _ in specs]
    members = [
        Member(
            spec,
            recorders[i],
            CheckpointFolder(folder / str(i), spec.fingerprint(), resume[i] if resume else ()),
            stops[i] if stops else no_stop,
        )
        for i, spec in enumerate(specs)
    ]
    outcomes = fit_pack(members, folder, kind=kind)
    return [Run(recorder, outcome) for recorder, outcome in zip(recorders, outcomes)]


def after(updates: int, error: JobStopped) -> Callable[[], Optional[JobStopped]]:
    """Return a request to stop that comes after so many updates."""
    asked = [0]

    def ask() -> Optional[JobStopped]:
        asked[0] += 1
        return error if asked[0] > updates else None

    return ask


def kinds(recorder: Recorder) -> List[str]:
    """Return the kinds of events, without those whose number depends on time."""
    return [kind for kind, _ in recorder.log if kind not in ("metric", "flush", "Progress")]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> List[Run]:
    """Return a pack of three jobs, trained to the end."""
    return run_pack(jobs(), tmp_path_factory.mktemp("packed"))


def test_each_member_reports_what_its_job_alone_reports(packed: List[Run], tmp_path: Path) -> None:
    for i, spec in enumerate(jobs()):
        alone, summary = train(spec, tmp_path / str(i))
        mine = packed[i]
        assert isinstance(summary, dict)
        assert mine.outcome["steps"] == summary["steps"] == 24
        assert set(mine.recorder.points) == set(alone.points)
        for name in ("train/loss", "train/learning_rate", "val/loss"):
            steps, values = zip(*mine.recorder.points[name])
            steps_alone, values_alone = zip(*alone.points[name])
            assert steps == steps_alone
            assert values == pytest.approx(values_alone, rel=2e-3)
        assert kinds(mine.recorder) == kinds(alone)


def test_the_summary_says_how_many_shared_the_updates(packed: List[Run]) -> None:
    assert [run.outcome["packed"] for run in packed] == [3, 3, 3]
    assert packed[0].recorder.events("Started")[0].environment["packed"] == 3


def test_a_pack_that_is_interrupted_resumes_bit_for_bit(packed: List[Run], tmp_path: Path) -> None:
    stops = [after(10, JobDrained("its worker leaves")) for _ in range(3)]
    first = run_pack(jobs(), tmp_path, stops)
    assert all(isinstance(run.outcome, JobDrained) for run in first)
    named = [run.recorder.named_checkpoints() for run in first]
    assert len({each[-1].step for each in named}) == 1
    second = run_pack(jobs(), tmp_path, resume=named)
    for run, whole in zip(second, packed):
        assert run.outcome["val/loss"] == whole.outcome["val/loss"]
        for name, value in run.weights().items():
            assert torch.equal(value, whole.weights()[name])


def test_members_of_an_interrupted_pack_go_on_alone(packed: List[Run], tmp_path: Path) -> None:
    stops = [after(10, JobDrained("its worker leaves")) for _ in range(3)]
    first = run_pack(jobs(), tmp_path, stops)
    _, summary = train(jobs()[1], tmp_path / "1", first[1].recorder.named_checkpoints())
    assert isinstance(summary, dict)
    assert summary["val/loss"] == pytest.approx(packed[1].outcome["val/loss"], rel=2e-3)


def test_a_cancelled_member_leaves_and_the_others_go_on(packed: List[Run], tmp_path: Path) -> None:
    stops = [no_stop, after(5, JobCancelled("the job was cancelled")), no_stop]
    runs = run_pack(jobs(), tmp_path, stops)
    assert isinstance(runs[1].outcome, JobCancelled)
    assert 0 < runs[1].recorder.named_checkpoints()[-1].step < 24
    for i in (0, 2):
        assert runs[i].outcome["val/loss"] == pytest.approx(packed[i].outcome["val/loss"], rel=2e-3)


def test_a_member_that_diverges_leaves_and_the_others_go_on(
    packed: List[Run], tmp_path: Path
) -> None:
    specs = jobs()
    wild = specs[1].optimizer.model_copy(update={"lr": 1e38})
    specs[1] = specs[1].model_copy(update={"optimizer": wild})
    runs = run_pack(specs, tmp_path)
    assert isinstance(runs[1].outcome, LossNotFinite)
    for i in (0, 2):
        assert runs[i].outcome["val/loss"] == pytest.approx(packed[i].outcome["val/loss"], rel=2e-3)


def test_jobs_that_differ_in_shapes_are_refused_with_the_field(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidSpec, match=r"batch_size: members .* need the same value, but these have 8 and 4"
    ):
        run_pack([*jobs(1), *jobs(1, batch_size=4)], tmp_path)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": {"name": "timm/resnet18"}}, "model.name: 'timm/resnet18' cannot be packed"),
        ({"acceleration": "kernels"}, "acceleration: 'kernels' cannot be used for packs on cpu"),
        ({"replicas": 2}, "replicas: jobs with 2 cannot be members of a pack"),
        (
            {"optimizer": "lamb"},
            "optimizer.name: 'lamb' cannot train packs; use one of sgd, adamw, rmsprop",
        ),
    ],
)
def test_jobs_without_a_packed_form_are_refused_with_field_and_reason(
    fields: Dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidSpec, match=re.escape(said)):
        run_pack(jobs(2, **fields), tmp_path)


def test_members_at_different_steps_are_refused(tmp_path: Path) -> None:
    early = run_pack(jobs(2), tmp_path / "a", [after(4, JobDrained("")) for _ in range(2)])
    late = run_pack(jobs(2), tmp_path / "b", [after(9, JobDrained("")) for _ in range(2)])
    named = [early[0].recorder.named_checkpoints(), late[1].recorder.named_checkpoints()]
    for run in run_pack(jobs(2), tmp_path / "c", resume=named):
        assert isinstance(run.outcome, PackFellApart)
        assert "checkpoints of the same step" in str(run.outcome)
