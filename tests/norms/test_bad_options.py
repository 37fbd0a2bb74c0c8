"""What a spec forbids `make` refuses, naming the field; so does each layer by itself."""

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


BAD_ARGUMENTS = [
    ("batch", {"momentum": 1.5}),
    ("batch", {"virtual_batch_size": 0}),
    ("group", {"groups": 3}),
    ("group", {"grouping": "random"}),
    ("rms", {"p": 0.0}),
    ("rms", {"p": 1.5}),
    ("rms", {"groups": 3}),
    ("dyt", {"alpha": 0.0}),
    ("evonorm_s0", {"groups": 3}),
    ("batch_renorm", {"r_max": 0.5}),
    ("batch_renorm", {"r_min": 1.5}),
    ("batch_renorm", {"d_max": -1.0}),
    ("batch_renorm", {"inference_momentum": -0.5}),
    ("batch_renorm", {"progress_steps": 0}),
    ("batch_renorm", {"variant": "torch"}),
    ("streaming", {"forward_short": 1.5}),
    ("streaming", {"backward_short": -0.5}),
    ("online", {"layer_scaling_eps": 0.0}),
    ("switchable", {"running": "sum"}),
    ("sparse_switchable", {"variant": "ours"}),
    ("sparse_switchable", {"radius": 2.0}),
    ("meta", {"samples": "some"}),
    ("meta", {"channels": "groups", "groups": 3}),
    ("meta", {"gate_init": "half"}),
]


@pytest.mark.parametrize(("kind", "bad"), BAD_ARGUMENTS)
def test_a_layer_built_by_hand_refuses_it_too(kind: str, bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec, match=next(reversed(list(bad)))):
        norms.LAYERS[kind](8, **bad)  # type: ignore[arg-type]
