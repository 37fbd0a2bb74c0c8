"""The names of jobs and studies."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from normlab.specs.jobs import JobSpec
from normlab.specs.studies import StudySpec


@pytest.mark.parametrize("name", ["a\x00b", "two\nlines", "bell\x07", "half a pair \ud800"])
def test_a_name_cannot_contain_control_characters(name: str) -> None:
    with pytest.raises(ValidationError, match=r"control characters|unicode"):
        JobSpec.model_validate({"normalizer": "batch", "name": name})
    with pytest.raises(ValidationError, match=r"control characters|unicode"):
        StudySpec.model_validate({"name": name, "base": {"normalizer": "batch"}})


def test_a_name_can_contain_any_language_and_sign() -> None:
    name = "Größe 2 → 批量归一化"
    assert JobSpec.model_validate({"normalizer": "batch", "name": name}).name == name
