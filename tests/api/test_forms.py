"""The form shows the options of everything that a job can name, those of plugins too."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.catalogue import parts
from api.forms import Choice, job_form, paths
from normlab.plugins.loading import load, use
from tests.normlab.plugins.authors import no_plugins, source
from tests.normlab.plugins.own_networks import my_nets
from tests.normlab.plugins.test_options_of_measures import WITH_OPTIONS

__all__ = ["no_plugins"]
pytestmark = pytest.mark.usefixtures("no_plugins")


def choices(path: str) -> dict[str, Choice]:
    found = [c for group in job_form() for c in group.choosers if c.path == path]
    return {choice.name: choice for choice in found[0].choices}


def test_networks_and_datasets_of_ones_own_have_fields_with_ranges(tmp_path: Path) -> None:
    assert choices("model.name")["resnet20"].fields == ()
    use([load(my_nets().written_below(tmp_path), "my_nets.py")])
    depth, width = choices("model.name")["tower_of_mine"].fields
    assert (depth.path, depth.option.default) == ("model.options.depth", 2)
    assert depth.option.limits() == "≥ 1, ≤ 8"
    assert width.path == "model.options.width"
    (period,) = choices("dataset.name")["stripes_of_mine"].fields
    assert period.path == "dataset.options.period"


def test_a_study_can_vary_them(tmp_path: Path) -> None:
    use([load(my_nets().written_below(tmp_path), "my_nets.py")])
    found = paths()
    assert {"normalizer", "model.name", "model.width", "model.options.depth"} <= set(found)
    assert {"dataset.name", "dataset.options.period", "optimizer"} <= set(found)


def test_the_form_lists_metrics_and_hooks_with_options_and_those_of_a_datasets_task(
    tmp_path: Path,
) -> None:
    use([load(source("mine.py", WITH_OPTIONS).written_below(tmp_path), "mine.py")])
    lists = {s.path: s.choices for group in job_form() for s in group.several}
    metrics = {choice.name: choice for choice in lists["metrics"]}
    assert metrics["val/jaccard"].fields == ()
    order, of = metrics["val/moment"].fields
    assert (order.path, order.option.limits(), of.option.choices) == (
        "order",
        "≥ 1, ≤ 4",
        ["y", "output"],
    )
    assert {"clamp_weights", "set_weights"} == {choice.name for choice in lists["hooks"]}
    assert "power" in {choice.name for choice in lists["diagnostics"]}
    (weight,) = choices("dataset.name")["ramps"].fields
    assert weight.path == "task.weight"
    assert {"metrics", "hooks", "diagnostics", "task.weight"} <= set(paths())
    described = {part.name: part for part in parts()}
    assert [option.name for option in described["set_weights"].options] == ["to"]


def test_how_data_are_read_can_be_chosen_in_the_form() -> None:
    fields = {field.path: field.option for group in job_form() for field in group.fields}
    assert fields["loading.mode"].choices == ["auto", "memory", "stream"]
    assert {"loading.workers", "loading.prefetch", "dataset.skip_broken"} <= set(fields)
