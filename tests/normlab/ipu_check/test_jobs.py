from __future__ import annotations

from typing import Any

import pytest

from normlab.ipu_check.jobs import check_job
from normlab.specs.jobs import JobSpec
from normlab.specs.models import MODELS
from normlab.specs.norm_base import ActivationNormSpec
from normlab.specs.normalizers import BY_KIND
from tests.counted_calls import calls_of
from tests.normlab.training.test_tasks import EXAMPLES


def job(normalizer: Any, **fields: Any) -> JobSpec:
    return JobSpec.model_validate({"normalizer": normalizer, "batch_size": 4, **fields})


TAKE_PROXY = [k for k, spec in BY_KIND.items() if issubclass(spec, ActivationNormSpec)]


@pytest.mark.parametrize("kind", list(BY_KIND))
def test_the_trace_agrees_with_the_facts_of_each_kind(kind: str) -> None:
    assert check_job(job(kind)).passes == BY_KIND[kind].runs_on_ipu


@pytest.mark.parametrize("kind", TAKE_PROXY)
def test_proxy_changes_no_verdict(kind: str) -> None:
    assert check_job(job({"kind": kind, "proxy": True})).passes == BY_KIND[kind].runs_on_ipu


def test_online_is_refused_for_its_backward_process() -> None:
    assert "backward control process" in check_job(job("online")).message


PICTURES = {"name": "shapes32"}


@pytest.mark.parametrize("model", [name for name in MODELS if name != "randomplain100"])
def test_every_net_passes_with_group_norm(model: str) -> None:
    dataset = EXAMPLES.get(MODELS[model].task, {"dataset": PICTURES})["dataset"]
    check = check_job(job("group", model={"name": model}, dataset=dataset))
    assert check.passes, check.message


def test_the_random_net_is_refused_for_its_padding() -> None:
    check = check_job(job("group", model={"name": "randomplain100"}))
    assert "circular padding" in check.message


def test_label_smoothing_passes() -> None:
    assert check_job(job("group", label_smoothing=0.1)).passes


def test_a_larger_net_takes_no_more_calls_for_each_of_its_layers() -> None:
    def calls(model: str) -> int:
        folder = {"name": "image_folder", "folder": "x"}
        spec = job("group", model={"name": model}, dataset=folder)
        check_job(spec)  # the first use of the meta device loads its operators
        return calls_of(lambda: check_job(spec))

    assert calls("resnet50") / 50 < 1.5 * calls("resnet18") / 18
