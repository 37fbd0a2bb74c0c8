"""Invisible characters are refused in input and escaped in output."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from normlab.plain_text import shown, unseen_in
from normlab.specs.jobs import JobSpec
from normlab.specs.studies import StudySpec

UNSEEN = ["\x00", "\t", "\n", "\x1b[31m", "\x85", "\u200b", "\u200f", "\u202e", "\u2066", "\ufeff"]
SEEN = ["batch, 2 samples", "Größe ± 1", "µ=0.5 → ∞", "名前", "שלום", "👩‍💻", "a\u00a0b"]


@pytest.mark.parametrize("text", SEEN)
def test_text_of_any_language_is_plain(text: str) -> None:
    assert unseen_in(text) is None
    assert shown(text) == text
    assert JobSpec(normalizer="batch", name=text).name == text


@pytest.mark.parametrize("unseen", UNSEEN)
def test_a_name_with_invisible_characters_is_refused(unseen: str) -> None:
    name = f"job {unseen}name"
    with pytest.raises(ValidationError, match="cannot be seen"):
        JobSpec(normalizer="batch", name=name)
    with pytest.raises(ValidationError, match="cannot be seen"):
        StudySpec(name=name)


@pytest.mark.parametrize(
    "fields",
    [
        {"base": {"name": "a\u202eb"}},
        {"base": {"deep": [{"er": "\x07"}]}},
        {"base": {"key\u202e": 1}},
        {"axes": {"name": ["plain", "a\u202eb"]}},
        {"axes": {"na\u202eme": ["plain"]}},
        {"exclude": [{"name": "a\u202eb"}]},
        {"search": {"space": {"name": {"choices": ["a\u202eb", "c"]}}}},
        {"search": {"space": {"optimizer.lr": {"low": 0.1, "high": 1}}, "metric": "a\u202eb"}},
    ],
)
def test_no_text_in_a_study_hides_anything(fields: Any) -> None:
    with pytest.raises(ValidationError, match=r"U\+(202E|0007) in it cannot be seen"):
        StudySpec(name="s", **fields)


def test_a_name_that_an_older_version_accepted_is_read_with_escapes() -> None:
    assert JobSpec.from_store({"normalizer": "batch", "name": "a\u202eb"}).name == "a\\u202eb"
    axes = [{"name": ["a\u202eb"]}]
    assert StudySpec.from_store({"name": "\u202es", "axes": axes}).name == "\\u202es"


def test_json_with_escapes_means_what_it_meant() -> None:
    value = {"name": "a\u202eb\U000e0041", "x": "\x85"}
    text = shown(json.dumps(value, ensure_ascii=False, indent=2))
    assert json.loads(text) == value
    assert text.isascii()
    assert len(text.splitlines()) == 4
