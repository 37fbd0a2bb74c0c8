from __future__ import annotations

import re
from typing import Any

import pytest

from api.forms import job_form
from api.hints import hint, marked, meaning, when_empty
from normlab.specs.options import OptionRecord


def option(description: str, **fields: Any) -> OptionRecord:
    return OptionRecord(name="x", type="integer", description=description, **fields)


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ("number of updates; null: only the time decides", "only the time decides"),
        ("samples at which *lr* holds; null leaves *lr* as it is", "leaves lr as it is"),
        ("largest norm; null does not clip", "does not clip"),
        ("a label", ""),
    ],
)
def test_an_empty_field_says_in_words_what_it_means(description: str, words: str) -> None:
    assert when_empty(option(description, nullable=True)) == words


def test_a_hint_says_what_empty_means_or_that_it_may_be_empty() -> None:
    assert hint(option("number of updates; null: only the time decides", nullable=True)) == (
        "number of updates. Empty: only the time decides"
    )
    assert hint(option("a label", nullable=True)) == "a label; may be left empty"


def test_a_hint_has_the_range_and_the_default_and_no_markup() -> None:
    found = option("as `GET /v1/models` lists <them>", minimum=1, default=4)
    assert hint(found) == ("as <code>GET /v1/models</code> lists &lt;them&gt; (≥ 1; default 4)")


def test_no_field_of_the_job_form_speaks_of_null_or_shows_markup() -> None:
    fields = [f for group in job_form() for f in group.fields]
    fields += [f for g in job_form() for c in g.choosers for each in c.choices for f in each.fields]
    shown = [f"{hint(field.option)} {when_empty(field.option)}" for field in fields]
    assert len(shown) > 100
    assert [text for text in shown if re.search(r"null|`|\*\w+\*", text)] == []


def test_the_page_of_a_kind_says_none_where_the_specification_says_null() -> None:
    assert meaning(option("scaled together; null: all", nullable=True)) == (
        "scaled together; none: all"
    )
    assert meaning(option("nullable words stay", nullable=True)) == "nullable words stay"


def test_a_message_has_its_names_as_code_and_no_markup_of_its_own() -> None:
    assert marked("run `normlab up`, <b> or *x*") == (
        "run <code>normlab up</code>, &lt;b&gt; or *x*"
    )
    assert marked("a \u202e name") == r"a \u202e name"
