"""Specifications in YAML have the words and numbers of JSON."""

from __future__ import annotations

import pytest

from normlab.specs.jobs import JobSpec
from normlab.specs.studies import StudySpec
from normlab.specs.written import parse


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
