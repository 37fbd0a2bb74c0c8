"""`make` and each layer refuse what a spec forbids in the same words, and name the field."""

from __future__ import annotations

from typing import Any, Iterator, Tuple

import pytest

from normlab import norms
from normlab.errors import InvalidSpec
from normlab.norms import make
from normlab.specs.normalizers import BY_KIND


def _beyond_limits() -> Iterator[Tuple[str, str, Any]]:
    for kind, spec in BY_KIND.items():
        for name, schema in spec.model_json_schema()["properties"].items():
            for part in [schema, *schema.get("anyOf", [])]:
                yield from ((kind, name, bad) for bad in _bad_values(part))


def _bad_values(schema: dict[str, Any]) -> list[Any]:
    found: list[Any] = []
    for limit, step in (("minimum", -1), ("maximum", 1)):
        if limit in schema:
            found.append(schema[limit] + step)
    found += [schema[k] for k in ("exclusiveMinimum", "exclusiveMaximum") if k in schema]
    if "enum" in schema:
        found.append("no such choice")
    if schema.get("type") == "number":
        found.append(float("nan"))
    return found


@pytest.mark.parametrize(("kind", "name", "bad"), list(_beyond_limits()))
def test_a_value_beyond_its_limits_is_refused_by_name(kind: str, name: str, bad: Any) -> None:
    with pytest.raises(InvalidSpec, match=name):
        make({"kind": kind, name: bad}, 8)


@pytest.mark.parametrize("kind", list(BY_KIND))
def test_a_misspelt_option_is_refused_by_name(kind: str) -> None:
    with pytest.raises(InvalidSpec, match="epsilom"):
        make({"kind": kind, "epsilom": 1e-3}, 8)


NOT_THE_LAYERS = ("quadrature", "proxy_eps", "proxy_weight_decay")
OF_LAYERS = [b for b in _beyond_limits() if b[0] in norms.LAYERS and b[1] not in NOT_THE_LAYERS]
TOGETHER: list[tuple[str, str, dict[str, Any]]] = [
    ("batch", "sync", {"sync": True, "virtual_batch_size": 2}),
    ("batch_renorm", "warmup_steps", {"warmup_steps": 30_000}),
    ("group", "groups", {"groups": 3}),
    ("meta", "groups", {"channels": "groups", "groups": 3}),
    ("online", "layer_scaling_group_size", {"layer_scaling_group_size": 3}),
    ("rms", "groups", {"groups": 3}),
    ("evonorm_s0", "groups", {"groups": 3}),
]
BY_HAND = [*((kind, name, {name: bad}) for kind, name, bad in OF_LAYERS), *TOGETHER]


@pytest.mark.parametrize(("kind", "name", "bad"), BY_HAND)
def test_a_layer_built_by_hand_says_what_make_says(
    kind: str, name: str, bad: dict[str, Any]
) -> None:
    with pytest.raises(InvalidSpec, match=name) as by_hand:
        norms.LAYERS[kind](8, **bad)
    with pytest.raises(InvalidSpec) as made:
        make({"kind": kind, **bad}, 8)
    assert by_hand.value.problems == made.value.problems


@pytest.mark.parametrize("name", NOT_THE_LAYERS)
def test_a_proxy_that_is_built_by_hand_refuses_it_too(name: str) -> None:
    norm = norms.LAYERS["group"](8, affine=False)
    argument = {"proxy_weight_decay": "weight_decay"}.get(name, name)
    with pytest.raises(InvalidSpec, match=name):
        norms.ProxyNorm(norm, "relu", **{argument: -1})
