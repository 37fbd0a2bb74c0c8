"""The options that the catalogue, the forms and the documentation show."""

from __future__ import annotations

import pytest

from normlab.specs.jobs import JobSpec
from normlab.specs.norm_base import NormSpec
from normlab.specs.normalizers import SPECS
from normlab.specs.norms_over_batches import StreamingNormSpec
from normlab.specs.norms_over_samples import GroupNormSpec, OnlineNormSpec
from normlab.specs.options import OptionRecord, options


def option(model: type[NormSpec], name: str) -> OptionRecord:
    return next(o for o in options(model) if o.name == name)


@pytest.mark.parametrize("spec", SPECS)
def test_every_field_but_the_tag_is_an_option(spec: type[NormSpec]) -> None:
    assert {o.name for o in options(spec)} == set(spec.model_fields) - {"kind"}


@pytest.mark.parametrize("spec", SPECS)
def test_every_option_is_described_and_its_default_is_the_models(spec: type[NormSpec]) -> None:
    for o in options(spec):
        assert o.description
        assert o.default == spec.model_fields[o.name].default


def test_a_range_is_read_from_the_model() -> None:
    groups = option(GroupNormSpec, "groups")
    assert (groups.type, groups.minimum, groups.maximum) == ("integer", 1, 65536)
    assert groups.limits() == "≥ 1, ≤ 65536"
    assert option(StreamingNormSpec, "momentum").limits() == "> 0, ≤ 1"


def test_choices_and_null_are_described() -> None:
    assert option(GroupNormSpec, "grouping").choices == ["contiguous", "strided"]
    assert option(OnlineNormSpec, "layer_scaling_group_size").nullable


def test_fields_that_are_specs_are_left_to_their_own_forms() -> None:
    names = {o.name for o in options(JobSpec)}
    assert "batch_size" in names
    assert not names & {"normalizer", "optimizer", "schedule", "model", "checkpoint"}
