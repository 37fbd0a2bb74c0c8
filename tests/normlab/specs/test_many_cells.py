"""Cells are made quickly, and are what each would be if it were validated alone."""

from __future__ import annotations

import copy
import inspect
from pathlib import Path
from typing import Any, Dict, List

import pytest

from normlab.errors import InvalidSpec
from normlab.plugins.loading import load
from normlab.specs import registries
from normlab.specs.cells import Cell, expand, make_cell, make_cells
from normlab.specs.exclusions import put
from normlab.specs.jobs import JobSpec, fingerprints
from normlab.specs.studies import StudySpec
from tests.normlab.plugins.authors import mine

KINDS: List[Any] = ["batch", {"kind": "group", "groups": 4}, {"kind": "batch"}]
GRIDS: List[Dict[str, Any]] = [
    {"axes": {"normalizer": KINDS, "batch_size": [32, 8.0, 2], "optimizer.lr": [0.1, 1, 1e-5]}},
    {"axes": [{"batch_size": [8, 2], "epochs": [1, 4]}, {"normalizer.proxy": [True, False]}]},
    {"axes": {"optimizer": [{"name": "adamw"}, "sgd"], "optimizer.lr": [0.1, 0.2]}},
    {"axes": {"name": ["a", "b"], "dataset.train_size": [100, None]}, "priority": 7},
    {"axes": {"label_smoothing": [0.0, -0.0, 0], "tf32": [True, False]}},
    {"axes": {"batch_size": [8, 4], "metrics": [[], ["val/jaccard"], []]}},
    {"axes": {"metrics": [["val/jaccard"], []], "optimizer.clip_ratio": [None, 0.01]}},
    {"axes": {"hooks": [[], ["mine"], [{"name": "mine", "k": 3}]], "task": [{"a": 1}, {}]}},
    {"axes": {}, "seeds": [5, 0, 2**63 - 1]},
]


def alone(study: StudySpec, cell: Cell) -> JobSpec:
    raw = copy.deepcopy(study.base)
    for path, value in {"priority": study.priority, **cell.coordinates}.items():
        put(raw, path, copy.deepcopy(value))
    return JobSpec.model_validate({**raw, "seed": cell.seed})


@pytest.mark.parametrize("grid", GRIDS)
def test_every_cell_is_as_if_it_was_validated_alone(grid: Dict[str, Any]) -> None:
    study = StudySpec.model_validate(
        {"name": "s", "base": {"normalizer": "batch"}, "seeds": 2, **grid}
    )
    for cell in expand(study):
        expected = alone(study, cell)
        assert cell.spec == expected
        assert cell.key == expected.fingerprint()
        assert [cell.key] == list(fingerprints(expected.texts(), [cell.seed]))
        assert cell.spec.model_dump_json() == expected.model_dump_json()
        (again,) = make_cells(study, copy.deepcopy(cell.coordinates), [cell.seed])
        assert again == make_cell(study, cell.coordinates, cell.seed) == cell


def test_no_rule_of_a_job_concerns_several_fields() -> None:
    """Such rules are in `job_rules`: otherwise a cell could not be combined from valid fields."""
    of_all = JobSpec.__pydantic_decorators__.model_validators
    assert set(of_all) == {"_with_the_code_it_uses"}  # which the maker of cells repeats
    assert not JobSpec.__pydantic_decorators__.root_validators
    for validator in JobSpec.__pydantic_decorators__.field_validators.values():
        takes = inspect.signature(validator.func).parameters
        assert len(validator.info.fields) == 1 or list(takes) == ["names"]  # each by itself


def test_a_wrong_value_is_found_wherever_it_stands() -> None:
    for values in ([0, 8, 2], [8, 0, 2], [8, 2, 0]):
        axes = {"normalizer": ["batch", "layer"], "batch_size": values}
        with pytest.raises(InvalidSpec) as refused:
            expand(StudySpec(name="s", axes=axes))
        assert [p.field for p in refused.value.problems] == ["axes.batch_size"]


def test_each_cell_has_the_code_that_it_uses(tmp_path: Path, no_plugins: None) -> None:
    plugin = load(mine().written_below(tmp_path), "my_norms.py").plugin()
    registries.find_with({plugin.digest: plugin}.get)
    kinds = ["batch", "dyt_of_mine", "layer", {"kind": "power_of_mine", "share": 0.5}]
    axes = {"batch_size": [4, 2], "normalizer": kinds}
    for code, everywhere in (((plugin.digest,), ()), ((), (plugin,))):
        registries.put_in_force(everywhere)
        study = StudySpec(name="s", base={"code": code}, axes=axes, seeds=(0, 1))
        for cell in expand(study):
            assert cell.spec == alone(study, cell)
            assert cell.key == alone(study, cell).fingerprint()
            theirs = cell.spec.normalizer.kind.endswith("_of_mine")
            assert cell.spec.code == ((plugin.digest,) if theirs else ())
