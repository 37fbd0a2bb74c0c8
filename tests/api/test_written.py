"""YAML of jobs over HTTP, and the recipes that a form can start from."""

from __future__ import annotations

import httpx
import pytest

from api import presets
from normlab.claims.loading import load_claims
from normlab.errors import NotFound
from normlab.specs.jobs import JobSpec
from normlab.specs.studies import StudySpec


def test_yaml_becomes_a_whole_job_and_a_job_becomes_yaml(client: httpx.Client) -> None:
    text = "normalizer: {kind: group, groups: 2}\noptimizer: {lr: 1e-3}\n"
    spec = client.post("/v1/jobs:read", json={"text": text}).json()["spec"]
    assert (spec["normalizer"]["groups"], spec["optimizer"]["lr"]) == (2, 0.001)
    assert spec["batch_size"] == 32
    written = client.post("/v1/jobs:write", json={"spec": spec}).json()["text"]
    again = client.post("/v1/jobs:read", json={"text": written}).json()["spec"]
    assert JobSpec.model_validate(again) == JobSpec.model_validate(spec)


@pytest.mark.parametrize(
    ("text", "field", "rule"),
    [
        ("normalizer: group\nbatch_size: many", "batch_size", "whole number"),
        ("normalizer: [", "text", "neither JSON nor YAML"),
        ("- a\n- b", "text", "a list in place of fields"),
        ("normalizer: &a {kind: group}\nmodel: *a", "text", "write it out"),
        ("normalizer: group\nname: 2026-01-01", "name", "must be text, not 2026-01-01"),
    ],
)
def test_what_cannot_be_read_is_a_problem_of_its_field(
    client: httpx.Client, text: str, field: str, rule: str
) -> None:
    response = client.post("/v1/jobs:read", json={"text": text})
    assert response.status_code == 422, response.text
    (error,) = response.json()["errors"]
    assert (error["field"], rule in error["rule"]) == (field, True), error


def test_every_recipe_is_a_whole_job_and_an_unknown_one_is_not_found() -> None:
    assert len(presets.recipes()) >= 2
    for name in presets.recipes():
        assert JobSpec.model_validate(presets.recipe(name)).name
    with pytest.raises(NotFound, match="torchvision-resnet50"):
        presets.recipe("nothing")


def test_yaml_becomes_a_study_and_a_study_becomes_yaml(client: httpx.Client) -> None:
    text = (
        "name: s\nbase: {dataset: {name: digits}}\naxes: {normalizer: [batch, group]}\nseeds: 3\n"
        "exclude: [{normalizer: batch}]\n"
    )
    spec = client.post("/v1/studies:read", json={"text": text}).json()["spec"]
    assert spec["seeds"] == [0, 1, 2]
    written = client.post("/v1/studies:write", json={"spec": spec}).json()["text"]
    again = client.post("/v1/studies:read", json={"text": written}).json()["spec"]
    assert again == spec
    wrong = client.post("/v1/studies:read", json={"text": "name: s\naxes: {normalizer: []}"})
    assert wrong.status_code == 422
    assert "at least one value" in wrong.json()["errors"][0]["rule"]


@pytest.mark.parametrize("claim", presets.claims())
def test_each_claim_is_a_study_that_a_form_starts_from(claim: str) -> None:
    start = presets.study_of(claim=claim, recipe_name=None)
    assert StudySpec.model_validate(start).name == load_claims()[claim].study.name


def test_a_recipe_is_the_base_of_a_study_and_others_are_not_found() -> None:
    start = presets.study_of(claim=None, recipe_name="timm-resnet50-a3")
    assert StudySpec.model_validate(start).base["optimizer"]["name"] == "lamb"
    with pytest.raises(NotFound, match="there is no claim 'z'; there are a-batch-size"):
        presets.study_of(claim="z", recipe_name=None)
