"""A layer's constructor has the options of its specification, with the same defaults."""

from __future__ import annotations

import inspect

import pytest

from normlab import norms
from normlab.specs.normalizers import BY_KIND

OF_THE_PROXY = {"proxy", "proxy_eps", "quadrature", "proxy_weight_decay"}
OF_THE_SITE = {"self", "num_features", "dims"}


@pytest.mark.parametrize("kind", list(norms.LAYERS))
def test_the_constructor_has_the_options_of_the_specification(kind: str) -> None:
    fields = BY_KIND[kind].model_fields
    expected = {n: f.default for n, f in fields.items() if n not in {"kind", *OF_THE_PROXY}}
    parameters = inspect.signature(norms.LAYERS[kind].__init__).parameters
    found = {n: p.default for n, p in parameters.items() if n not in OF_THE_SITE}
    assert found == expected
