from __future__ import annotations

from typing import Any

import pytest

from accelerators import open_accelerator
from normlab.errors import UnsupportedModel
from normlab.ipu_check import rules
from normlab.specs.abilities import abilities
from normlab.specs.jobs import JobSpec
from normlab.specs.normalizers import Normalizer


def job(**fields: Any) -> JobSpec:
    return JobSpec.model_validate({"normalizer": "batch", **fields})


def test_an_ipu_runs_the_kinds_that_its_rules_let_through() -> None:
    passing = [k.value for k in Normalizer if not rules.problems(job(normalizer=k.value))]
    assert abilities("ipu").normalizers == passing
    assert abilities("cpu").normalizers == abilities("cuda").normalizers
    assert set(abilities("cpu").normalizers) == {kind.value for kind in Normalizer}


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_the_precisions_are_those_that_an_adapter_opens(precision: str) -> None:
    on_ipu = not rules.problems(job(precision=precision))
    assert on_ipu == (precision in abilities("ipu").precisions)
    try:
        open_accelerator("cpu", job(precision=precision))
        opened = True
    except UnsupportedModel:
        opened = False
    assert opened == (precision in abilities("cpu").precisions)
    with pytest.raises(KeyError):
        abilities("tpu")
