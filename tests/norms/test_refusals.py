"""Inputs and arguments that layers refuse, and those that they must not."""

from __future__ import annotations

from typing import Any, Dict, List

import pytest
import torch

from normlab import norms
from normlab.errors import InvalidSpec
from normlab.norms import make
from normlab.specs.normalizers import BY_KIND
from tests.norms.family import KINDS, OPTIONS, TAKES_PROXY, every_kind, layer_of, run, spec


@every_kind
@pytest.mark.parametrize("training", [True, False])
def test_a_batch_of_no_samples_passes_and_changes_no_state(kind: str, training: bool) -> None:
    layer = layer_of(kind).train(training)
    before = {k: v.clone() for k, v in layer.named_buffers()}
    x = torch.randn(0, 8, 5, 3, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert y.shape == x.shape
    assert all(torch.equal(v, before[k]) for k, v in layer.named_buffers())


ONE_VALUE = ("batch", "batch_renorm", "streaming", "l1_batch", "linf_batch", "topk_batch", "meta")


@pytest.mark.parametrize("kind", [k for k in KINDS if k in ONE_VALUE])
def test_one_value_for_each_channel_is_refused_in_training(kind: str) -> None:
    layer, x = layer_of(kind), torch.randn(1, 8, 1, 1)
    with pytest.raises(InvalidSpec):
        layer(x)
    assert layer.eval()(x).isfinite().all()


@every_kind
@pytest.mark.parametrize("bad", [(4, 8), (4, 8, 5), (4, 7, 5, 3), (4, 8, 5, 3, 2)])
def test_another_shape_is_refused_with_the_right_one(kind: str, bad: tuple[int, ...]) -> None:
    with pytest.raises(InvalidSpec, match=r"it takes \(N, C, H, W\) with C = 8"):
        layer_of(kind)(torch.zeros(bad))


@every_kind
def test_integers_are_refused(kind: str) -> None:
    with pytest.raises(InvalidSpec, match="convert it to float"):
        layer_of(kind)(torch.zeros(4, 8, 5, 3, dtype=torch.long))


HAVE_EPS = [k for k in KINDS if "eps" in BY_KIND[k].model_fields]
BAD: List[Dict[str, Any]] = [{"num_features": 0}, {"eps": 0.0}, {"dims": 4}]


@pytest.mark.parametrize(
    ("kind", "bad"), [(k, bad) for bad in BAD for k in (HAVE_EPS if "eps" in bad else KINDS)]
)
def test_arguments_out_of_range_are_refused_at_construction(kind: str, bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec):
        norms.LAYERS[kind](**{"num_features": 8, **OPTIONS.get(kind, {}), **bad})


def test_every_activation_kind_of_the_specs_has_a_layer() -> None:
    expected = {k for k, s in BY_KIND.items() if s.acts_on == "activations"}
    assert set(norms.LAYERS) == expected


@pytest.mark.parametrize(
    "kind", [k for k in BY_KIND if BY_KIND[k]().for_activations().layer is None]
)
def test_other_kinds_return_only_the_activation(kind: str) -> None:
    x = torch.randn(2, 8, 3, 3)
    assert torch.equal(make(kind, 8)(x), x)
    assert torch.equal(make(kind, 8, "relu")(x), x.relu())


@pytest.mark.parametrize("kind", TAKES_PROXY)
@pytest.mark.parametrize("activation", ["relu", "silu", "gelu"])
def test_every_kind_with_an_eps_takes_the_proxy_activation(kind: str, activation: str) -> None:
    layer = make(spec(kind, proxy=True), 8, activation)
    y, gx = run(layer, torch.randn(4, 8, 5, 3), torch.randn(4, 8, 5, 3))
    assert y.isfinite().all()
    assert gx.isfinite().all()
    assert {"weight", "bias", "proxy_weight", "proxy_bias"} <= dict(layer.named_parameters()).keys()
