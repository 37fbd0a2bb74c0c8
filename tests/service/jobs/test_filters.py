"""The filter language parses expressions, and names the position of an error."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from normlab.errors import InvalidSpec
from service.jobs.filters import All, Either, FieldComparison, Not, parse


def test_the_example_of_the_documentation_is_parsed() -> None:
    assert parse("normalizer = online and batch_size <= 4 and val/accuracy > 0.9") == All(
        (
            FieldComparison("normalizer", "=", "online"),
            FieldComparison("batch_size", "<=", 4),
            FieldComparison("val/accuracy", ">", 0.9),
        )
    )


def test_and_binds_tighter_than_or() -> None:
    a, b, c = (FieldComparison(name, "=", 1) for name in "abc")
    assert parse("a = 1 or b = 1 and c = 1") == Either((a, All((b, c))))
    assert parse("(a=1 or b=1) and c=1") == All((Either((a, b)), c))


def test_a_filter_understands_not_in_and_contains() -> None:
    assert parse("not state in (failed, cancelled)") == Not(
        FieldComparison("state", "in", ("failed", "cancelled"))
    )
    assert parse("name ~ 'small batch'") == FieldComparison("name", "~", "small batch")


def test_values_keep_their_types() -> None:
    fields = parse("a = 1 and b = 1.5 and c = 1e-3 and d = true and e = '1' and f = resnet20")
    assert isinstance(fields, All)
    values = [part.value for part in fields.parts if isinstance(part, FieldComparison)]
    assert values == [1, 1.5, 0.001, True, "1", "resnet20"]
    assert [type(v) for v in values] == [int, float, float, bool, str, str]


def test_keywords_may_begin_a_name() -> None:
    assert parse("notes = organic and order = android") == All(
        (FieldComparison("notes", "=", "organic"), FieldComparison("order", "=", "android"))
    )


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("batch_size <", 13, "a number"),
        ("batch_size 4", 1, "a field"),
        ("normalizer = online and", 24, "a field"),
        ("(state = failed", 16, ")"),
        ("state = failed state = queued", 16, "and"),
        ("state in (", 11, "a word"),
        ("", 1, "a field"),
        ("state = ;drop", 9, "a quoted text"),
    ],
)
def test_a_syntax_error_names_its_position_and_what_was_expected(
    text: str, position: int, expected: str
) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse(text)
    rule = caught.value.problems[0].rule
    assert rule.startswith(f"position {position}:"), rule
    assert expected in rule


def test_an_endless_filter_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="at most 2000"):
        parse("a = 1 and " * 500 + "a = 1")


@given(st.text(max_size=60))
def test_any_text_is_a_filter_or_a_clear_error(text: str) -> None:
    try:
        parse(text)
    except InvalidSpec as e:
        assert "position" in str(e)  # noqa: PT017


def test_brackets_nest_as_deeply_as_a_filter_is_long() -> None:
    assert parse("(" * 990 + "a = 1" + ")" * 990) == FieldComparison("a", "=", 1)
