from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from normlab.errors import InvalidSpec
from normlab.nets import Site, build
from normlab.nets.resnet import Residual
from normlab.specs.models import MODELS
from normlab.specs.network_and_data import ModelSpec
from normlab.specs.norm_base import NormSpec
from normlab.specs.normalizers import BY_KIND, parse_normalizer
from normlab.specs.tasks import TASKS, fits

every_net = pytest.mark.parametrize("name", list(MODELS))
every_map = pytest.mark.parametrize("name", [n for n, f in MODELS.items() if not f.recurrent])


def make(name: str, normalizer: NormSpec | None = None, **options: Any) -> nn.Module:
    given = {"in_channels": 3, "num_classes": 10, "image_size": 32, **options}
    model = ModelSpec(
        name=name,
        width=given.pop("width", None),
        zero_last_scale=given.pop("zero_last_scale", False),
    )
    recurrent = name in MODELS and MODELS[name].recurrent
    default = parse_normalizer("layer" if recurrent else "batch")
    return build(model, normalizer or default, **given)


def samples(name: str, n: int) -> Tensor:
    return torch.randn(n, *TASKS[MODELS[name].task].input_shape(3, 32))


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@every_map
@pytest.mark.parametrize("size", [32, 45])
def test_the_catalogue_knows_each_normalizers_channels_and_side(name: str, size: int) -> None:
    model = make(name, width=4, image_size=size)
    met: list[tuple[int, int]] = []

    def note(site: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(site, Site)
        met.append((site.channels, math.isqrt(output[0].numel() // site.channels)))

    for module in model.modules():
        if isinstance(module, Site):
            module.register_forward_hook(note)
    model(torch.randn(2, 3, size, size))
    facts = [(site.channels, site.side) for site in MODELS[name].sites(4, size)]
    # A projection is parallel to its branch, so only their order may differ.
    assert sorted(met) == sorted(facts)
    assert [c for c, _ in facts] == MODELS[name].channels(4)


@pytest.mark.parametrize(
    ("name", "classes", "count"),
    [
        # as published, in millions: 0.27, 0.85, 11.69, 25.56
        ("resnet20", 10, 269_722),
        ("resnet56", 10, 853_018),
        ("resnet18", 1000, 11_689_512),
        ("resnet50", 1000, 25_557_032),
    ],
)
def test_the_published_nets_have_their_published_size(name: str, classes: int, count: int) -> None:
    assert parameters(make(name, num_classes=classes)) == count


def test_the_recurrent_network_has_its_width_in_each_gate() -> None:
    (site,) = [m for m in make("lstm", width=4).modules() if isinstance(m, Site)]
    assert site.channels == sum(MODELS["lstm"].channels(4)) == 16


@every_net
def test_predictions_have_the_shape_of_their_task_and_start_near_zero(name: str) -> None:
    torch.manual_seed(0)
    model = make(name, width=8, num_classes=7)
    found = model(samples(name, 4))
    task = TASKS[MODELS[name].task]
    assert fits(tuple(found.shape[1:]), task.output_shape(3, 7, 32))
    if task.classes:
        assert found.shape[:2] == (4, 7)
    assert found.abs().max() < 1


@every_net
def test_every_parameter_gets_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    model = make(name, width=4)
    model(samples(name, 4)).logsumexp(1).sum().backward()
    lost = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert lost == []


@pytest.mark.parametrize("kind", list(BY_KIND))
@pytest.mark.parametrize("name", ["preresnet8", "resnet20"])
def test_any_normalizer_fits(kind: str, name: str) -> None:
    model = make(name, parse_normalizer(kind), width=4)
    y = model(torch.randn(4, 3, 32, 32))
    y.sum().backward()
    assert torch.isfinite(y).all()


def test_the_proxy_is_used_wherever_an_activation_follows() -> None:
    proxy = parse_normalizer({"kind": "group", "proxy": True})
    sites = [m for m in make("resnet20", proxy).modules() if isinstance(m, Site)]
    kinds = [type(site.layer).__name__ for site in sites]
    assert kinds == ["ProxyNorm", *(["ProxyNorm", "ScaleOnlyNorm"] * 9)]


def test_weights_are_normalized_if_the_kind_requires_it() -> None:
    model = make("preresnet8", parse_normalizer("bounded_weight"))
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert all(hasattr(m, "parametrizations") for m in convolutions)
    lengths = convolutions[0].weight.flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, lengths[:1].expand_as(lengths))


def test_convolutions_start_with_hes_spread() -> None:
    torch.manual_seed(0)
    stem = next(m for m in make("resnet50").modules() if isinstance(m, nn.Conv2d))
    expected = (2 / (64 * 7 * 7)) ** 0.5
    assert stem.weight.std().item() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"name": "vgg"}, "resnet20"),
        ({"name": "resnet18", "image_size": 16}, "32 pixels"),
        ({"name": "convnet", "normalizer": parse_normalizer("group"), "width": 6}, "divide"),
    ],
)
def test_a_network_that_cannot_be_built_gives_the_reason(
    options: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidSpec, match=says):
        make(**options)


@pytest.mark.parametrize("spec", ["sparse_switchable", {"kind": "group", "proxy": True}], ids=str)
@pytest.mark.parametrize("name", ["resnet20", "resnet50"])
def test_residual_branches_may_start_at_zero(name: str, spec: Any) -> None:
    net = make(name, parse_normalizer(spec), width=4, zero_last_scale=True)
    x = torch.randn(2, 3, 32, 32)
    blocks = [m for m in net.modules() if isinstance(m, Residual)]
    assert all(getattr(block.branch[-1], "channels", 0) for block in blocks)
    outputs: list[Tensor] = []
    for block in blocks:
        block.branch.register_forward_hook(lambda *args: outputs.append(args[-1]))
    net(x)
    assert len(outputs) == len(blocks)
    assert all(not y.any() for y in outputs)


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("preresnet8", "batch"),
        ("resnet20", {"kind": "batch", "affine": False}),
        ("convnet", "none"),
    ],
)
def test_a_network_without_such_scales_refuses(name: str, spec: Any) -> None:
    with pytest.raises(InvalidSpec, match="no residual branch of this network ends with a scale"):
        make(name, parse_normalizer(spec), zero_last_scale=True)
