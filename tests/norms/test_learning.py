import pytest
import torch
from torch import nn

from normlab.errors import InvalidSpec
from normlab.norms import ParameterHint, make, parameter_hints, set_training_progress


def test_the_proxys_own_parameters_have_their_own_decay() -> None:
    spec = {"kind": "group", "proxy": True, "proxy_weight_decay": 0.01}
    layer = make(spec, 8, "relu")
    hints = parameter_hints(nn.Sequential(nn.Conv2d(3, 8, 3), layer))
    assert hints == {
        layer.proxy_weight: ParameterHint(weight_decay=0.01),
        layer.proxy_bias: ParameterHint(weight_decay=0.01),
    }


def test_sparse_ratios_learn_ten_times_slower() -> None:
    layer = make("sparse_switchable", 8)
    hints = parameter_hints(layer)
    assert hints == dict.fromkeys(
        [layer.mean_weight, layer.var_weight], ParameterHint(0.0, 0.1, clipped_together=True)
    )


def test_gates_do_not_decay() -> None:
    layer = make({"kind": "meta", "samples": "learned"}, 8)
    assert set(parameter_hints(layer)) == {layer.channel_gates, layer.sample_gate}


def test_gates_are_learned() -> None:
    torch.manual_seed(0)
    layer = make({"kind": "meta", "samples": "learned"}, 8)
    layer(torch.randn(4, 8, 3, 3)).pow(3).sum().backward()
    for gate in (layer.channel_gates, layer.sample_gate):
        assert gate.grad.abs().max() > 0


def test_other_kinds_have_no_hints() -> None:
    assert parameter_hints(make("batch", 8)) == {}


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_progress_is_between_zero_and_one(fraction: float) -> None:
    with pytest.raises(InvalidSpec, match="between 0 and 1"):
        set_training_progress(make("sparse_switchable", 8), fraction)


def test_progress_reaches_layers_inside_a_network() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), make("sparse_switchable", 8, "relu"))
    set_training_progress(net, 0.25)
    assert net[1].norm.radius.item() == 0.25
