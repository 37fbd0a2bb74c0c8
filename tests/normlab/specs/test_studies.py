"""A study's grid: every combination once, and clear errors for an invalid grid."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st
from pydantic import ValidationError

from normlab.errors import InvalidSpec
from normlab.specs.cells import expand, label, lay_out
from normlab.specs.contrasts import comparisons
from normlab.specs.studies import StudySpec, headline_of

KINDS = ["batch", "layer", {"kind": "group", "groups": 4, "proxy": True}]


def study(**fields: Any) -> StudySpec:
    return StudySpec.model_validate({"name": "small batches", **fields})


def test_a_grid_is_every_combination_for_every_seed() -> None:
    cells = expand(study(axes={"normalizer": KINDS, "batch_size": [32, 8, 2]}, seeds=3))
    assert len(cells) == len({c.key for c in cells}) == 27
    assert {c.spec.batch_size for c in cells} == {32, 8, 2}
    assert [c.seed for c in cells[:4]] == [0, 1, 2, 0]


def test_linked_paths_vary_together() -> None:
    cells = expand(
        study(base={"normalizer": "batch"}, axes=[{"batch_size": [32, 2], "epochs": [9, 3]}])
    )
    assert [(c.spec.batch_size, c.spec.epochs) for c in cells] == [(32, 9), (2, 3)]


def test_a_path_reaches_into_a_short_name() -> None:
    cells = expand(study(base={"normalizer": "group"}, axes={"normalizer.groups": [2, 4]}))
    assert [c.spec.normalizer.model_dump()["groups"] for c in cells] == [2, 4]


def test_names_of_datasets_and_networks_form_axes_and_bases() -> None:
    fields = {"base": {"normalizer": "batch", "model": "resnet20"}, "axes": {"model.width": [8]}}
    (cell,) = expand(StudySpec.model_validate({"name": "s", **fields}))
    assert (cell.spec.model.name, cell.spec.model.width) == ("resnet20", 8)
    axes = {"dataset": ["digits", {"name": "digits"}, "shapes32"]}
    cells = expand(StudySpec.model_validate({"name": "s", **fields, "axes": axes}))
    assert [cell.spec.dataset.name for cell in cells] == ["digits", "shapes32"]


def test_an_axis_that_repeats_a_value_gives_the_cell_once() -> None:
    cells = expand(study(axes={"normalizer": ["batch", {"kind": "batch"}]}))
    assert len(cells) == 1


def test_excluded_cells_are_left_out() -> None:
    rule = {"normalizer": "batch", "batch_size": [1, 2]}
    cells = expand(study(axes={"normalizer": KINDS, "batch_size": [8, 2, 1]}, exclude=[rule]))
    assert len(cells) == 7
    assert [c.spec.batch_size for c in cells if c.coordinates["normalizer"] == "batch"] == [8]


def test_a_cell_keeps_its_key_when_an_axis_grows() -> None:
    before = expand(study(axes={"normalizer": KINDS, "batch_size": [32, 8]}))
    after = expand(study(axes={"batch_size": [2, 8, 32], "normalizer": KINDS}))
    assert {c.key for c in before} < {c.key for c in after}


def test_the_priority_is_not_part_of_the_key() -> None:
    keys = {expand(study(axes={"normalizer": ["batch"]}, priority=p))[0].key for p in (0, 5)}
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("fields", "field", "rule"),
    [
        ({"axes": {"normaliser": ["batch"]}}, "axes.normaliser", "did you mean 'normalizer'?"),
        (
            {"axes": {"normalizer.group": [2]}, "base": {"normalizer": "group"}},
            "axes.normalizer.group",
            "did you mean 'groups'?",
        ),
        (
            {"axes": {"normalizer": ["batch"], "optimizer.lr": [0.1, -1]}},
            "axes.optimizer.lr",
            "greater than 0",
        ),
        ({"axes": {"lr": [0.1]}}, "axes.lr", "did you mean 'optimizer.lr'?"),
        ({"axes": {"normalizer": ["nope"]}}, "axes.normalizer", "nope"),
        ({"base": {"epochs": 1.5, "normalizer": "batch"}}, "base.epochs", "whole number"),
        (
            {"axes": {"normalizer": ["batch"]}, "exclude": [{"normalizer": "batch"}]},
            "exclude",
            "none of 1 cells",
        ),
        (
            {"base": {"normalizer": "batch"}, "axes": {"batch_size": [8, 2]}, "seeds": 20_000},
            "axes",
            "at most 20000",
        ),
    ],
)
def test_the_error_for_an_invalid_grid_names_the_axis_and_the_rule(
    fields: dict[str, Any], field: str, rule: str
) -> None:
    with pytest.raises(InvalidSpec) as caught:
        expand(study(**fields))
    problem = caught.value.problems[0]
    assert problem.field == field
    assert rule in problem.rule


@pytest.mark.parametrize(
    "fields",
    [
        {"axes": {"batch_size": []}},
        {"axes": [{}]},
        {"axes": [{"batch_size": [1, 2], "epochs": [1]}]},
        {"axes": [{"batch_size": [1]}, {"batch_size": [2]}]},
        {"axes": {"seed": [1]}},
        {"seeds": []},
        {"seeds": [1, 1]},
        {"seeds": 0},
        {"seeds": 20_001},
        {"seeds": 40_000_000},
        {"seeds": 10**30},
        {"seeds": [10**30]},
        {"exclude": [{"batch_size": 10**30}]},
        {"exclude": [{f"a{i}": 1} for i in range(65)]},
        {"exclude": [{"batch_size": 1}] * 2001},
        {"base": {"seed": 10**30}},
        {"base": {"name": "\ud800"}},
        {"axes": {"name": ["a\x00b"]}},
        {"axes": {".".join(["a"] * 300): [1]}},
        {"axes": {"optimizer.lr": [float("nan")]}},
        {"search": {"space": {"optimizer.lr": {"low": 1}}}},
        {"search": {"space": {"optimizer.lr": {"low": 0, "high": 1, "log": True}}}},
    ],
)
def test_an_ill_formed_study_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        study(**fields)


def test_excluded_and_identical_cells_are_counted() -> None:
    axes = {"normalizer": ["batch", {"kind": "batch"}, "layer"], "batch_size": [8, 2]}
    found = lay_out(study(axes=axes, seeds=3, exclude=[{"batch_size": 2, "normalizer": "layer"}]))
    assert (len(found.cells), found.excluded, found.identical) == (9, 3, 6)


def test_values_that_differ_have_labels_that_differ() -> None:
    assert label(0.1234567) != label(0.1234568)
    assert label(0.001) == "0.001"


@pytest.mark.parametrize(
    "grid", [{"axes": {"batch_size": [8]}}, {"exclude": [{"batch_size": 8}]}, {"seeds": 3}]
)
def test_a_search_with_a_grid_is_refused_not_ignored(grid: dict[str, Any]) -> None:
    space = {"optimizer.lr": {"low": 0.1, "high": 1}}
    with pytest.raises(ValidationError, match="a search proposes"):
        study(search={"space": space}, **grid)


def test_labels_read_like_the_paper() -> None:
    assert [label(k) for k in KINDS] == ["batch", "layer", "group(groups=4)+proxy"]
    assert label(0.05) == "0.05"


def test_labels_write_booleans_as_a_file_does() -> None:
    assert [label(value) for value in (True, False)] == ["true", "false"]
    assert label({"kind": "batch", "affine": False}) == "batch(affine=false)"


@pytest.mark.parametrize("against", ["false", "False"])
def test_looks_at_booleans_and_questions_about_them_keep_their_earlier_names(against: str) -> None:
    compare = {"axis": "normalizer.affine", "against": against}
    axes = {"normalizer": ["batch", "layer"], "normalizer.affine": [True, False]}
    decides = study(axes=axes, decide={"by": 0.01, "compare": compare})
    found = comparisons(decides, expand(decides))
    assert [(c.value, c.against) for c in found] == [("true", "false")] * 2
    assert found[0].key == "normalizer.affine: True / False; normalizer=batch"


@given(st.lists(st.integers(1, 64), min_size=1, unique=True), st.integers(1, 5))
def test_the_number_of_cells_is_the_product(batches: list[int], seeds: int) -> None:
    grid = study(base={"normalizer": "layer"}, axes={"batch_size": batches}, seeds=seeds)
    assert len(expand(grid)) == grid.size == len(batches) * seeds


def test_a_label_does_not_depend_on_the_order_of_fields() -> None:
    given = {"kind": "batch_renorm", "virtual_batch_size": 4, "clipping": "progress"}
    turned = dict(reversed(given.items()))
    assert label(given) == label(turned) == "batch_renorm(clipping=progress, virtual_batch_size=4)"


OBJECTS = {"dataset": {"name": "objects32"}, "model": {"name": "detector"}}


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"decide": {"by": 0.02}, "axes": {"normalizer": ["batch", "group"]}}, "decide"),
        ({"search": {"space": {"optimizer.lr": {"low": 0.01, "high": 0.1}}}}, "search"),
    ],
)
def test_an_accuracy_that_no_job_reports_cannot_be_decided_or_searched(
    asked: dict[str, Any], name: str
) -> None:
    with pytest.raises(ValidationError, match=rf"{name}.metric: .* no val/accuracy; use val/map"):
        study(base=OBJECTS, **asked)
    asked[name]["metric"] = "val/map50"
    assert study(base=OBJECTS, **asked).base == OBJECTS


@pytest.mark.parametrize(
    ("base", "metric"),
    [
        ({}, "val/accuracy"),
        ({"dataset": {"name": "scenes32"}}, "val/accuracy"),
        (OBJECTS, "val/map"),
        ({"dataset": {"name": "textures32"}}, "val/loss"),
        ({"dataset": {"name": "unheard"}}, "val/accuracy"),
    ],
)
def test_a_study_shows_the_metric_of_its_task(base: dict[str, Any], metric: str) -> None:
    assert headline_of(base) == metric
