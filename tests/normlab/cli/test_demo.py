"""The demo's table and sentence follow from the numbers."""

from __future__ import annotations

from normlab.cli.demo import ARMS, Row, spec, study, verdict
from normlab.specs.cells import expand
from normlab.specs.ipu_rules import problems
from normlab.specs.jobs import JobSpec
from normlab.specs.studies import StudySpec


def rows(*accuracies: tuple[float, float]) -> list[Row]:
    return [Row(arm, list(values)) for arm, values in zip(ARMS, accuracies)]


def test_the_sentence_says_what_was_lost_and_regained() -> None:
    said = verdict(rows((0.9, 0.92), (0.7, 0.8), (0.8, 0.8), (0.94, 0.96)))
    assert "loses 16.0 points" in said
    assert "20.0 points above that" in said
    assert "4.0 above batch norm over 32" in said
    assert said.count("every seed agrees") == 2


def test_the_sentence_does_not_claim_what_the_numbers_do_not_show() -> None:
    said = verdict(rows((0.8, 0.9), (0.85, 0.95), (0.8, 0.8), (0.7, 0.9)))
    assert "gains 5.0 points" in said
    assert "10.0 points below that" in said
    assert "every seed agrees" not in said


def test_the_arms_are_valid_jobs_that_differ_only_in_the_normalizer() -> None:
    jobs = [JobSpec.model_validate(spec(a, 0, 12)) for a in ARMS]
    same = [job.model_dump(exclude={"normalizer", "name"}) for job in jobs]
    assert all(one == same[0] for one in same)
    assert len({job.fingerprint() for job in jobs}) == len(ARMS)


def test_the_study_trains_each_arm_with_each_seed_and_nothing_else() -> None:
    cells = expand(StudySpec.model_validate(study(12, 3)))
    alone = [JobSpec.model_validate(spec(arm, seed, 12)) for arm in ARMS for seed in range(3)]
    assert [cell.spec.fingerprint() for cell in cells] == [job.fingerprint() for job in alone]


def test_the_same_grid_runs_on_an_emulated_ipu_and_says_so() -> None:
    jobs = [JobSpec.model_validate(spec(a, 0, 12, "ipu")) for a in ARMS]
    assert {(job.device, job.ipu_runtime) for job in jobs} == {("ipu", "emulated")}
    assert not [problem for job in jobs for problem in problems(job)]
