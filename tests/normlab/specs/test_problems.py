"""The messages about a spec that breaks a rule."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from normlab.specs.jobs import JobSpec
from normlab.specs.problems import explain
from normlab.specs.studies import StudySpec


def problem(**fields: Any) -> tuple[str, str]:
    body = {"normalizer": "batch", **fields}
    with pytest.raises(ValidationError) as caught:
        JobSpec.model_validate(body)
    (found,) = explain(caught.value.errors(), body, JobSpec)
    return found.field, found.rule


def test_a_misspelt_field_is_named_with_its_nearest_neighbour() -> None:
    field, rule = problem(batchsize=2)
    assert field == "batchsize"
    assert "did you mean 'batch_size'?" in rule
    assert "gradient_accumulation" in rule


def test_a_misspelt_option_is_compared_with_the_options_of_its_own_kind() -> None:
    field, rule = problem(normalizer={"kind": "group", "groupz": 4})
    assert field == "normalizer.groupz"
    assert "did you mean 'groups'?" in rule
    assert "alpha_forward" not in rule


def test_the_error_for_a_misplaced_field_names_its_right_place() -> None:
    assert "did you mean 'optimizer.lr'?" in problem(lr=0.1)[1]
    assert "did you mean 'normalizer.groups'?" in problem(groups=4)[1]


def test_the_tag_of_a_union_is_not_part_of_the_path() -> None:
    assert problem(normalizer={"kind": "group", "groups": 0})[0] == "normalizer.groups"
    assert problem(optimizer={"name": "sgd", "lr": -1})[0] == "optimizer.lr"
    assert (
        problem(schedule={"name": "step", "milestones": [0.5, "x"]})[0] == "schedule.milestones.1"
    )


def test_an_axis_is_named_as_it_was_written() -> None:
    for axes, field in (
        ({"epochs": [1], "normalizer": "batch"}, "axes.normalizer"),
        ([{"epochs": [1]}, {"normalizer": "batch"}], "axes.1.normalizer"),
    ):
        body = {"name": "s", "axes": axes}
        with pytest.raises(ValidationError) as caught:
            StudySpec.model_validate(body)
        (found,) = explain(caught.value.errors(), body, StudySpec)
        assert found.field == field


def test_a_limit_is_reported_with_the_value_that_broke_it() -> None:
    rule = problem(batch_size=0)[1]
    assert rule == "must be greater than or equal to 1, not 0"


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"batch_size": "many"}, "must be a whole number, not 'many'"),
        ({"code": ["x"]}, "must be a SHA-256 in 64 hex digits, not 'x'"),
        ({"dataset": {"folder": "../x"}}, "must be letters and digits, with . _ - after the first"),
        ({"batch_size": 2.5}, "must be a whole number, not 2.5"),
        ({"deterministic": "often"}, "must be true or false, not 'often'"),
        ({"optimizer": {"name": "sgd", "lr": "high"}}, "must be a number, not 'high'"),
        ({"diagnostics": "power"}, "must be a list, not 'power'"),
        ({"name": "x" * 1000}, "must have at most 200 characters, not 1000"),
        ({"code": ["0" * 64] * 100}, "must have at most 16 items, not 100"),
    ],
)
def test_a_rule_is_said_in_plain_words_with_the_value(wrong: dict[str, Any], rule: str) -> None:
    assert problem(**wrong)[1].startswith(rule)


def test_nan_is_refused_as_not_finite() -> None:
    field, rule = problem(optimizer={"name": "sgd", "lr": float("nan")})
    assert (field, "finite" in rule) == ("optimizer.lr", True)


def test_an_unknown_kind_lists_the_kinds() -> None:
    field, rule = problem(normalizer="btach")
    assert field == "normalizer"
    assert "'btach' is unknown" in rule
    assert "'online'" in rule


def test_the_message_of_our_own_rule_is_kept() -> None:
    field, rule = problem(normalizer={"kind": "weight", "proxy": True})
    assert field == "normalizer"
    assert rule.startswith("'weight' cannot take proxy")


def test_the_error_for_a_wrong_shape_names_the_right_one() -> None:
    assert problem(model=20) == ("model", "must be a name, or an object with its options, not 20")
    fields = "ema.decay, ema.every, ema.start"
    assert problem(ema=0.99) == ("ema", f"must be an object, not 0.99; its fields are {fields}")
    assert problem(hooks="mine") == ("hooks", "must be a list, not 'mine': write [mine]")
    assert problem(dataset=None)[1].endswith("not null")


def test_an_unprintable_value_is_shown_in_ascii() -> None:
    assert problem(device="\ud800")[1].isascii()
