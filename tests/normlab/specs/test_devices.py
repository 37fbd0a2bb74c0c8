from __future__ import annotations

from typing import Any

import pytest

from accelerators import open_accelerator
from normlab.errors import UnsupportedModel
from normlab.specs import ipu_rules
from normlab.specs.device_rules import problems, takers
from normlab.specs.devices import ACCELERATIONS, DEVICES, PRECISIONS
from normlab.specs.job_rules import check
from normlab.specs.jobs import JobSpec
from normlab.specs.normalizers import BY_KIND

every_device = pytest.mark.parametrize("kind", list(DEVICES))


def job(**fields: Any) -> JobSpec:
    return JobSpec.model_validate({"normalizer": "batch", **fields})


@every_device
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("acceleration", ACCELERATIONS)
def test_admission_and_the_adapter_refuse_the_same_jobs(
    kind: str, precision: str, acceleration: str
) -> None:
    asked = job(device=kind, precision=precision, acceleration=acceleration)
    refused = check(asked, None)
    assert bool(refused) == bool(problems(asked, kind))
    if refused:
        with pytest.raises(UnsupportedModel, match=f"{kind} cannot take this job"):
            open_accelerator(kind, asked)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_refused_precision_names_the_devices_that_have_it(precision: str) -> None:
    able = [kind for kind, facts in DEVICES.items() if precision in facts.precisions]
    for kind in set(DEVICES) - set(able):
        (problem,) = problems(job(precision=precision), kind)
        assert problem.field == "precision"
        assert problem.rule.startswith(f"{precision} is for {' or '.join(able)}, not for {kind}")


def test_an_ipu_is_not_offered_half_precision_by_one_rule_and_refused_by_another() -> None:
    rule = check(job(device="cpu", precision="float16"), None)[0].rule
    assert "ipu" not in rule
    assert takers(job(precision="float16")) == ["cuda"]


def test_auto_is_refused_where_no_device_can_take_the_job() -> None:
    (problem,) = check(job(precision="float16", acceleration="kernels"), None)
    assert problem.field == "device"
    assert all(f"{kind}: " in problem.rule for kind in DEVICES)


def test_an_ipu_runs_the_kinds_that_its_rules_let_through() -> None:
    for kind in BY_KIND:
        asked = job(normalizer=kind)
        assert bool(ipu_rules.problems(asked)) == ("ipu" not in takers(asked))
        assert {"cpu", "cuda"} <= set(takers(asked))
