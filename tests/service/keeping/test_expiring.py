"""The files of one job that a rule no longer keeps."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from normlab.records.keeping import KeepRequest, KeepRules
from service.keeping.expiring import EndedJob, File, expired

JOB = EndedJob(uuid4(), "f", ended_days=10.0, log_bytes=50)


def rules(**given: object) -> KeepRules:
    return KeepRules(project="p", **{**KeepRequest().model_dump(), **given})


def checkpoint(step: int, attempt: int = 1) -> File:
    name = f"step-{step}.pt"
    return File(JOB.id, name, "checkpoint", attempt, f"x/{attempt}/{name}", "0" * 64, 100, step)


def other(name: str, kind: str) -> File:
    return File(JOB.id, name, kind, 1, f"x/{name}", "0" * 64, 7, None)


FILES = [
    *[checkpoint(step) for step in (10, 20, 30, 40)],
    other("weights.safetensors", "weights"), other("out.log", "log"), other("a.csv", "table"),
]  # fmt: skip


def gone(kept: KeepRules, best: int | None = 20) -> dict[str, list[str]]:
    def best_step(steps: Sequence[int]) -> int | None:
        assert list(steps) == [10, 20, 30, 40]
        return best

    return {one.kind: [f.name for f in one.files] for one in expired(kept, JOB, FILES, best_step)}


def test_without_rules_nothing_goes() -> None:
    assert gone(rules()) == {}


def test_the_last_and_the_best_checkpoint_stay() -> None:
    kept = rules(checkpoints_days=10)
    assert gone(kept) == {"checkpoint": ["step-10.pt", "step-30.pt"]}
    assert gone(kept, best=None) == {"checkpoint": ["step-10.pt", "step-20.pt", "step-30.pt"]}


def test_the_last_checkpoint_or_none_stays_if_the_rule_says_so() -> None:
    names = [f"step-{step}.pt" for step in (10, 20, 30, 40)]
    assert gone(rules(checkpoints_days=3, checkpoints_then="last")) == {"checkpoint": names[:3]}
    assert gone(rules(checkpoints_days=3, checkpoints_then="none")) == {"checkpoint": names}


def test_the_last_one_is_of_the_last_attempt() -> None:
    files = [checkpoint(40, attempt=1), checkpoint(30, attempt=2)]
    kept = rules(checkpoints_days=0, checkpoints_then="last")
    (one,) = expired(kept, JOB, files, lambda _: None)
    assert [file.attempt for file in one.files] == [1]


def test_each_kind_has_its_own_days_and_tables_always_stay() -> None:
    assert gone(rules(weights_days=10)) == {"weights": ["weights.safetensors"]}
    assert gone(rules(logs_days=9)) == {"log": ["out.log"]}
    assert gone(rules(checkpoints_days=11, weights_days=11, logs_days=11)) == {}


def test_a_log_in_the_database_counts_with_its_size() -> None:
    (one,) = expired(rules(logs_days=0), JOB, FILES, lambda _: None)
    assert one.bytes == 57
    assert expired(rules(logs_days=0), EndedJob(JOB.id, "f", 1.0, 0), [], lambda _: None) == []
