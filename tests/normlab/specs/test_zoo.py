"""What is known about networks of other libraries if none of these is installed."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from normlab.specs import starting_weights
from normlab.specs.costs import cost
from normlab.specs.job_rules import check
from normlab.specs.jobs import JobSpec
from normlab.specs.models import MODELS
from normlab.specs.network_rules import places


def job(name: str = "timm/convnext_tiny", kind: str = "layer", **fields: Any) -> JobSpec:
    options = fields.pop("options", {})
    model = {"name": name, "options": options}
    return JobSpec.model_validate({"normalizer": kind, "model": model, **fields})


def test_names_of_three_libraries_are_networks_and_none_is_listed() -> None:
    for name in ("timm/resnet50.a1_in1k", "torchvision/resnet50", "transformers/vit"):
        assert check(job(name), None) == []
        assert MODELS[name].package == name.partition("/")[0]
        assert name not in list(MODELS)
    assert places(job()) is None
    assert cost(job()) is None


@pytest.mark.parametrize("name", ["tim/resnet50", "timm/", "timm/hf-hub:a/b", "timm/../x", "timm"])
def test_other_names_are_unknown(name: str) -> None:
    (problem,) = check(job(name), None)
    assert "timm/NAME, torchvision/NAME, transformers/NAME" in problem.rule


def test_the_content_of_weights_is_a_part_of_the_job() -> None:
    contents = {"mine.safetensors": "a" * 64}
    plain = job(options={"weights": "mine.safetensors"})
    assert "sha256" not in plain.model.options
    starting_weights.find_with(lambda start: contents[str(start.file)])
    try:
        first = job(options={"weights": "mine.safetensors"})
        assert first.model.options["sha256"] == "a" * 64
        contents["mine.safetensors"] = "b" * 64
        second = job(options={"weights": "mine.safetensors"})
        assert second.fingerprint() != first.fingerprint()
        with pytest.raises(ValidationError, match="leave sha256 out to use these"):
            job(options={"weights": "mine.safetensors", "sha256": "a" * 64})
    finally:
        starting_weights.find_with(None)


def test_a_content_without_weights_is_refused_and_a_job_without_both_is_the_old_one() -> None:
    with pytest.raises(ValidationError, match="or pretrained weights; add one"):
        job(options={"sha256": "a" * 64})
    assert "sha256" not in job().model.options
    named = job(options={"pretrained": True, "sha256": "a" * 64})
    assert named.fingerprint() != job(options={"pretrained": True}).fingerprint()


def test_options_of_the_library_pass_and_count() -> None:
    deep = job(options={"depths": [1, 1, 1, 1], "drop_path_rate": 0.1})
    assert deep.model.options["depths"] == [1, 1, 1, 1]
    assert deep.model.options["download"] == "refuse"
    assert deep.fingerprint() != job().fingerprint()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"num_classes": 3}, "num_classes follows from the job's dataset and name; leave it out"),
        ({"weights": "../x.safetensors"}, "weights"),
        ({"weights": "/etc/x.safetensors"}, "weights"),
        ({"weights": "x.pth"}, "weights"),
        ({"download": "please"}, "'refuse' or 'allow'"),
    ],
)
def test_options_that_are_not_a_jobs_to_give_are_refused(
    options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValidationError, match=says):
        job(options=options)


def test_a_network_that_reads_must_not_see_what_it_predicts() -> None:
    language = {"dataset": {"name": "grammar"}}
    assert check(job("transformers/gpt2", "rms", **language), None) == []
    assert check(job("transformers/gpt2", "none", **language), None) == []
    (problem,) = check(job("transformers/gpt2", "batch", **language), None)
    assert (problem.field, "see each other" in problem.rule) == ("normalizer.kind", True)
    (problem,) = check(job("timm/resnet50", "rms", **language), None)
    assert "timm/resnet50 is for classification and grammar for language" in problem.rule
