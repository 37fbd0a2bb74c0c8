"""Exclusion rules match correctly, at a cost that hardly grows with their number."""

from __future__ import annotations

from typing import Any, Dict

import pytest
from hypothesis import given, strategies as st

from normlab.specs.cells import lay_out
from normlab.specs.exclusions import Exclusions, problems_of
from normlab.specs.studies import StudySpec
from tests.counted_calls import calls_of

GROUP = {"kind": "group", "groups": 4}
VALUES = st.sampled_from([1, 2, 1.0, True, None, "batch", {"kind": "batch"}, GROUP])
PATHS = st.sampled_from(["normalizer", "normalizer.kind", "batch_size"])


@pytest.mark.parametrize(
    ("rule", "out"),
    [
        ({"normalizer": "group"}, True),
        ({"normalizer": {"groups": 4.0, "kind": "group"}}, True),
        ({"normalizer": {"kind": "group"}}, False),
        ({"normalizer.groups": [2, 4]}, True),
        ({"normalizer": "group", "batch_size": 8}, False),
        ({"normalizer": ["layer", "group"], "batch_size": [1, 2]}, True),
        ({"epochs": 2}, False),
    ],
)
def test_a_rule_matches_by_value_by_short_name_and_within(rule: Dict[str, Any], out: bool) -> None:
    assert Exclusions([rule]).leave_out({"normalizer": GROUP, "batch_size": 2}) is out


@pytest.mark.parametrize("path", ["normalizer", "dataset", "optimizer"])
def test_a_rule_about_a_name_finds_a_value_that_is_only_a_name(path: str) -> None:
    tag = "kind" if path == "normalizer" else "name"
    for rule in ({path: "x"}, {path: {tag: "x"}}, {f"{path}.{tag}": "x"}):
        assert Exclusions([rule]).leave_out({path: "x"})
        assert Exclusions([rule]).leave_out({path: {tag: "x"}})
        assert not Exclusions([rule]).leave_out({path: "y"})


def test_a_rule_about_the_id_of_a_job_finds_an_object_with_it() -> None:
    for rule in ({"init_from": "x"}, {"init_from": {"from": "x"}}, {"init_from.from": "x"}):
        assert Exclusions([rule]).leave_out({"init_from": "x"})
        assert Exclusions([rule]).leave_out({"init_from": {"from": "x"}})


@pytest.mark.parametrize("path", ["augmentations", "metrics", "hooks"])
def test_a_rule_about_a_list_of_names_finds_a_list_of_objects(path: str) -> None:
    for rule in ({path: ["x"]}, {path: [["x"]]}, {path: [["y"], ["x"]]}, {path: [[{"name": "x"}]]}):
        assert Exclusions([rule]).leave_out({path: ["x"]})
        assert Exclusions([rule]).leave_out({path: [{"name": "x"}]})
        assert not Exclusions([rule]).leave_out({path: [{"name": "x", "size": 2}]})


def test_a_list_in_a_rule_is_some_values_or_one_that_is_a_list() -> None:
    rule = {"freeze": ["stem", "head"]}
    assert Exclusions([rule]).leave_out({"freeze": ["stem", "head"]})
    assert not Exclusions([rule]).leave_out({"freeze": ["head", "stem"]})
    assert not Exclusions([rule]).leave_out({"freeze": ["stem"]})


@pytest.mark.parametrize("path", ["ema", "init_from", "loss"])
def test_a_rule_about_null_leaves_out_no_object(path: str) -> None:
    assert Exclusions([{path: None}]).leave_out({path: None})
    assert not Exclusions([{path: None}]).leave_out({path: {"decay": 0.99, "from": "x"}})


def test_a_short_name_within_a_path_counts_as_an_object() -> None:
    coordinates = {"normalizer": "group", "normalizer.groups": 2}
    assert Exclusions([{"normalizer": "group"}]).leave_out(coordinates)
    assert Exclusions([{"normalizer.groups": 2}]).leave_out(coordinates)


def test_rules_that_match_no_cell_are_named() -> None:
    rules = [
        {"normalizer": "batch"}, {"normalizer": "gruop"}, {"normalizer.kind": ["batch", "x"]},
        {"augmentations": ["crop"]}, {"batch_size": 2, "normalizer": "layer"},
    ]  # fmt: skip
    axes = {
        "normalizer": ["batch", "layer"],
        "batch_size": [8],
        "augmentations": [[], ["crop", "flip"]],
    }
    study = StudySpec.model_validate({"name": "s", "axes": axes, "exclude": rules})
    assert lay_out(study).idle_rules == [rules[1], rules[3], rules[4]]


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("batchsize", "the nearest axes are batch_size"),
        ("epochs", "'epochs' is no axis of the study, so that the rule matches no cell"),
        ("optimizer", ""),
        ("normalizer.groups", ""),
        ("optimizer.lr.x", ""),
        ("optimizer.lrs", "the nearest axes are optimizer.lr"),
        ("seed", "in `seeds`"),
    ],
)
def test_a_rule_about_a_field_that_does_not_vary_can_match_nothing(path: str, rule: str) -> None:
    paths = ["normalizer", "optimizer.lr", "batch_size"]
    found = list(problems_of([{"normalizer": "batch"}, {"normalizer": "batch", path: 1}], paths))
    assert [problem.field for problem in found] == ([f"exclude.1.{path}"] if rule else [])
    assert all(rule in problem.rule for problem in found)


@given(
    st.lists(st.dictionaries(PATHS, st.one_of(VALUES, st.lists(VALUES, max_size=3)))),
    st.dictionaries(st.sampled_from(["normalizer", "batch_size"]), VALUES, min_size=1),
)
def test_many_rules_exclude_a_cell_that_one_of_them_excludes(rules: Any, coordinates: Any) -> None:
    alone = [Exclusions([rule]).leave_out(coordinates) for rule in rules]
    assert Exclusions(rules).leave_out(coordinates) == any(alone)


def test_two_thousand_rules_cost_a_grid_little_more_than_one() -> None:
    axes = {"batch_size": list(range(1, 101)), "epochs": list(range(1, 101))}
    fields = {"name": "s", "base": {"normalizer": "batch"}, "axes": axes}
    rules = [{"batch_size": i % 90 + 1, "epochs": 100 - i // 90} for i in range(2000)]
    one = StudySpec.model_validate({**fields, "exclude": rules[:1]})
    many = StudySpec.model_validate({**fields, "exclude": rules})
    assert calls_of(lambda: lay_out(many)) < 1.5 * calls_of(lambda: lay_out(one))
