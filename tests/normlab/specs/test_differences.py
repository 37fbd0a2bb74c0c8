"""Specifications differ in fields, and a whole normalizer may count as one of them."""

from __future__ import annotations

from normlab.specs.differences import differing

ONE = {"normalizer": {"kind": "group", "groups": 8}, "batch_size": 2, "optimizer": {"lr": 0.1}}
OTHER = {"normalizer": {"kind": "batch", "momentum": 0.1}, "batch_size": 2, "optimizer": {"lr": 1}}


def test_only_fields_that_differ_are_listed_with_all_values() -> None:
    assert differing([ONE, OTHER]) == {
        "normalizer.kind": ["group", "batch"],
        "normalizer.groups": [8, None],
        "optimizer.lr": [0.1, 1],
        "normalizer.momentum": [None, 0.1],
    }


def test_a_whole_field_is_one_value() -> None:
    assert list(differing([ONE, OTHER], {"normalizer"})) == ["normalizer", "optimizer.lr"]


def test_equal_specifications_and_none_differ_in_nothing() -> None:
    assert differing([ONE, ONE, ONE]) == differing([ONE]) == differing([]) == {}


def test_true_and_one_are_different_values() -> None:
    assert differing([{"a": True}, {"a": 1}]) == {"a": [True, 1]}
