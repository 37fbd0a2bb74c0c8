import math

import pytest
from pydantic import TypeAdapter, ValidationError

from normlab.errors import InvalidSpec
from normlab.specs.jobs import JobSpec
from normlab.specs.norm_base import ActivationNormSpec
from normlab.specs.normalizers import (
    BY_KIND,
    SPECS,
    NormalizerSpec,
    check_channels,
    parse_normalizer,
)
from normlab.specs.norms_mixed import MetaNormSpec
from normlab.specs.norms_over_batches import BatchNormSpec
from normlab.specs.norms_over_samples import GroupNormSpec, OnlineNormSpec

every_kind = pytest.mark.parametrize("kind", list(BY_KIND))
ADAPTER = TypeAdapter(NormalizerSpec)


@every_kind
def test_a_bare_name_is_short_for_the_kind_with_its_defaults(kind: str) -> None:
    assert parse_normalizer(kind) == BY_KIND[kind]()
    assert ADAPTER.validate_python(kind) == ADAPTER.validate_python({"kind": kind})


@every_kind
def test_a_spec_survives_json(kind: str) -> None:
    spec = BY_KIND[kind]()
    assert ADAPTER.validate_json(spec.model_dump_json()) == spec


@every_kind
def test_an_unknown_field_is_refused(kind: str) -> None:
    with pytest.raises(ValidationError, match="extra"):
        ADAPTER.validate_python({"kind": kind, "colour": "red"})


@every_kind
def test_every_option_has_a_description(kind: str) -> None:
    for name, field in BY_KIND[kind].model_fields.items():
        assert name == "kind" or field.description, name


@every_kind
def test_every_kind_has_its_facts(kind: str) -> None:
    spec = BY_KIND[kind]
    assert spec.title
    assert spec.source
    assert spec.__doc__
    assert spec.ipu_reason


def test_the_schema_of_a_job_has_every_kind() -> None:
    schema = JobSpec.model_json_schema()
    names, kinds = schema["properties"]["normalizer"]["anyOf"]
    # a version of pydantic describes them in place, another one by reference
    whole = [
        schema["$defs"][k["$ref"].split("/")[-1]] if "$ref" in k else k for k in kinds["oneOf"]
    ]
    assert names["enum"] == [kind["properties"]["kind"]["const"] for kind in whole]
    assert list(BY_KIND.values()) == list(SPECS)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -1.0, "tiny", None])
def test_eps_out_of_range_is_refused(bad: object) -> None:
    with pytest.raises(InvalidSpec, match=r"normalizer\.eps"):
        parse_normalizer({"kind": "batch", "eps": bad})


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"kind": "batch", "momentum": 1.5}, "momentum"),
        ({"kind": "batch", "virtual_batch_size": 0}, "virtual_batch_size"),
        ({"kind": "group", "groups": 0}, "groups"),
        ({"kind": "group", "grouping": "random"}, "grouping"),
        ({"kind": "topk_batch", "k": 0}, "k"),
        ({"kind": "online", "alpha_forward": 1.0}, "alpha_forward"),
        ({"kind": "sparse_switchable", "radius": 1.1}, "radius"),
        ({"kind": "bounded_weight", "rho": "max"}, "rho"),
    ],
)
def test_a_problem_names_its_field(value: "dict[str, object]", field: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_normalizer(value)
    assert [p.field for p in caught.value.problems] == [f"normalizer.{field}"]


def test_an_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(InvalidSpec, match="'switchable'"):
        parse_normalizer("bath")


@pytest.mark.parametrize(
    "kind", ["weight", "scaled_weight_standardized", "none", "dyt", "evonorm_s0"]
)
def test_kinds_without_an_affine_refuse_proxy_with_the_reason(kind: str) -> None:
    with pytest.raises(InvalidSpec, match="cannot take proxy"):
        parse_normalizer({"kind": kind, "proxy": True})


def test_every_activation_kind_takes_proxy() -> None:
    for spec in SPECS:
        if issubclass(spec, ActivationNormSpec):
            assert parse_normalizer({"kind": spec.model_fields["kind"].default, "proxy": True})


def test_proxy_without_affine_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="holds the affine"):
        parse_normalizer({"kind": "group", "proxy": True, "affine": False})


def test_sync_and_ghost_batches_exclude_each_other() -> None:
    with pytest.raises(ValidationError, match="choose one"):
        BatchNormSpec(sync=True, virtual_batch_size=2)


def test_renorm_limits_must_end_after_the_warmup() -> None:
    with pytest.raises(InvalidSpec, match="larger than warmup_steps"):
        parse_normalizer({"kind": "batch_renorm", "warmup_steps": 30000})


def test_groups_that_do_not_divide_are_reported_with_numbers_that_do() -> None:
    (problem,) = check_channels(GroupNormSpec(groups=4), [8, 16, 6])
    assert problem.field == "normalizer.groups"
    assert problem.rule == "groups=4 does not divide 6 channels; use one of 1, 2, 3, 6"


def test_learned_gates_need_a_power_of_two() -> None:
    assert check_channels(MetaNormSpec(channels="learned"), [16]) == []
    (problem,) = check_channels(MetaNormSpec(channels="learned"), [16, 24])
    assert "power of two" in problem.rule


def test_layer_scaling_groups_must_divide() -> None:
    (problem,) = check_channels(OnlineNormSpec(layer_scaling_group_size=3), [8])
    assert problem.field == "normalizer.layer_scaling_group_size"


def test_the_schema_offers_both_the_name_and_the_record() -> None:
    schema = ADAPTER.json_schema(mode="validation")
    assert schema["anyOf"][0]["enum"] == list(BY_KIND)
