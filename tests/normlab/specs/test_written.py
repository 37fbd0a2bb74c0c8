"""Specifications in YAML have the words and numbers of JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from normlab.specs.jobs import JobSpec
from normlab.specs.studies import StudySpec
from normlab.specs.written import as_yaml, in_short, parse


def test_off_is_a_word_where_a_field_has_words() -> None:
    study = "{name: x, seeds: 2, axes: {batch_size: [2]}, pack: off}"
    assert StudySpec.model_validate(parse(study, "x")).pack == "off"
    assert (
        JobSpec.model_validate(parse("{normalizer: batch, sharding: off}", "x")).sharding == "off"
    )


WORDS = {"off": False, "no": False, "false": False, "on": True, "yes": True, "True": True}


@pytest.mark.parametrize("word", list(WORDS))
def test_a_field_that_is_true_or_false_reads_every_word_for_it(word: str) -> None:
    spec = parse(f"normalizer: {{kind: batch, affine: {word}}}", "x")
    assert JobSpec.model_validate(spec).normalizer.affine is WORDS[word]


RECIPES = sorted((Path(__file__).parents[3] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_in_short_is_the_same_job(path: Path) -> None:
    spec = JobSpec.model_validate(parse(path.read_text(), path.name))
    assert JobSpec.model_validate(parse(as_yaml(in_short(spec)), "x")) == spec


def test_a_job_in_short_says_what_its_parts_are_and_null_only_where_it_was_chosen() -> None:
    spec = JobSpec.model_validate({"normalizer": "batch", "batch_size": 4})
    assert as_yaml(in_short(spec)).startswith("normalizer:\n  kind: batch\nmodel:\n  name: ")
    assert "null" not in as_yaml(in_short(spec))
    chosen = spec.normalizer.model_copy(update={"momentum": None})
    text = as_yaml(in_short(spec.model_copy(update={"normalizer": chosen})))
    assert text.startswith("normalizer:\n  kind: batch\n  momentum: null\n")
