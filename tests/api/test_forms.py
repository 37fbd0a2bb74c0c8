"""The form shows the options of everything that a job can name, those of plugins too."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.catalogue import parts
from api.forms import Choice, job_form, paths
from normlab.plugins.loading import load, use
from tests.normlab.plugins.authors import source
from tests.normlab.plugins.own_networks import my_nets
from tests.normlab.plugins.test_options_of_measures import WITH_OPTIONS
from tests.normlab.plugins.test_recipes import MINE

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


def test_the_twin_that_a_job_starts_from_has_a_field_for_an_object() -> None:
    fields = {field.path: field.option for group in job_form() for field in group.fields}
    assert fields["init_from.twin"].type == "object"
    assert "init_from.twin" in paths()


def test_recipes_have_fields_for_what_plugins_add(tmp_path: Path) -> None:
    assert list(choices("optimizer.name"))[:3] == ["sgd", "adamw", "rmsprop"]
    assert list(choices("loss.name")) == ["", "binary_cross_entropy"]
    use([load(source("mine.py", MINE).written_below(tmp_path), "mine.py")])
    share = [f for f in choices("optimizer.name")["my_sign"].fields if f.path == "optimizer.share"]
    assert share[0].option.limits() == "≥ 0, < 1"
    low = [f for f in choices("schedule.name")["my_saw"].fields if f.path == "schedule.low"]
    assert low[0].option.default == 0.1
    for place in (0, 5):
        found = choices(f"augmentations.{place}.name")
        assert next(iter(found)) == ""
        assert [f.path for f in found["my_dark"].fields] == [f"augmentations.{place}.least"]


def test_a_study_varies_augmentations_as_a_whole() -> None:
    found = paths()
    assert {"augmentations", "ema.decay", "loss", "optimizer.layer_decay"} <= set(found)
    assert not [path for path in found if path.startswith("augmentations.")]


def test_the_catalogue_lists_the_parts_of_recipes_with_their_options() -> None:
    found = {(record.part, record.name): record for record in parts()}
    rand = found["augmentation", "rand_augment"]
    assert [option.name for option in rand.options][:2] == ["num_ops", "magnitude"]
    assert {("optimizer", "lamb"), ("schedule", "one_cycle")} <= set(found)
