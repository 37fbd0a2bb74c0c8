import pytest
import torch
from torch import Tensor, nn

from normlab.errors import InvalidSpec
from normlab.norms import make
from normlab.norms.meta import MetaNorm, kronecker_groups
from tests.norms.golden import Golden, assert_same

SPECIAL = [
    ("in_torch_n2", {"samples": "own", "channels": "own"}),
    ("ln_torch_n2", {"samples": "own", "channels": "all"}),
    ("gn2_torch_n2", {"samples": "own", "channels": "groups", "groups": 2}),
    ("bn_torch_2d_n2", {"samples": "batch", "channels": "own"}),
    ("bn_torch_2d_n8", {"samples": "batch", "channels": "own"}),
]


@pytest.mark.parametrize("plain", [False, True], ids=["engine", "plain"])
@pytest.mark.parametrize(("name", "spec"), SPECIAL, ids=[name for name, _ in SPECIAL])
def test_the_standard_kinds_are_special_cases(
    name: str, spec: "dict[str, object]", plain: bool
) -> None:
    golden = Golden(name)
    layer = make({"kind": "meta", **spec}, golden["x"].shape[2], plain=plain).double()
    layer.weight.data.copy_(golden["weight"])
    layer.bias.data.copy_(golden["bias"])
    if "state0_running_mean" in golden:
        layer.running_mean.copy_(golden["state0_running_mean"])
        layer.running_var.copy_(golden["state0_running_var"])
    for t in range(golden["x"].shape[0]):
        layer.zero_grad()
        x = golden["x"][t].requires_grad_()
        y = layer(x)
        y.backward(golden["gy"][t])
        assert x.grad is not None
        assert_same(y, golden["y"][t], 1e-12, "y")
        assert_same(x.grad, golden["gx"][t], 1e-12, "gx")
        assert_same(layer.weight.grad, golden["g_weight"][t], 1e-12, "weight")
        assert_same(layer.bias.grad, golden["g_bias"][t], 1e-12, "bias")
        if "state_running_mean" in golden:
            assert_same(layer.running_mean, golden["state_running_mean"][t], 1e-12)
            assert_same(layer.running_var, golden["state_running_var"][t], 1e-12)
    assert_same(layer.eval()(golden["x_eval"]), golden["y_eval"], 1e-12, "y_eval")


def test_kronecker_groups_match_the_published_matrices() -> None:
    golden = Golden("kron_group_matrices")
    for gates, matrix in zip(golden["gates"], golden["U"]):
        used = gates[gates >= 0]
        size = 2 ** len(used)
        torch.testing.assert_close(kronecker_groups(used), matrix[:size, :size])


def learned(gates: "list[float]", **options: object) -> MetaNorm:
    layer = MetaNorm(2 ** len(gates), channels="learned", **options).double()
    with torch.no_grad():
        assert layer.channel_gates is not None
        layer.channel_gates.copy_(torch.tensor(gates))
    return layer


@pytest.mark.parametrize(("gates", "groups"), [((-1, -1, -1), 8), ((-1, 1, 1), 2), ((1, 1, 1), 1)])
def test_low_bits_of_learned_gates_make_contiguous_groups(
    gates: "tuple[float, ...]", groups: int
) -> None:
    x = torch.randn(2, 8, 3, 3).double()
    group = nn.GroupNorm(groups, 8).double()
    torch.testing.assert_close(learned(list(gates))(x), group(x))


def by_definition(x: Tensor, gates: Tensor, g: Tensor) -> Tensor:
    # M = U mu V / Z and S^2 from second moments, with continuous gates
    n, c = x.shape[:2]
    mu, second = x.mean((2, 3)), x.square().mean((2, 3))
    v = kronecker_groups(gates)
    u = g * torch.ones(n, n).to(x) + (1 - g) * torch.eye(n).to(x)
    v, u = v / v[0].sum(), u / u[0].sum()
    m = u @ mu @ v
    s2 = u @ second @ v - m.square()
    return (x - m.view(n, c, 1, 1)) * (s2 + 1e-5).rsqrt().view(n, c, 1, 1)


@pytest.mark.parametrize("g", [0.0, 1.0])
@pytest.mark.parametrize("gates", [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_gates_get_the_gradient_of_the_definition_straight_through(
    gates: "tuple[float, float]", g: float
) -> None:
    torch.manual_seed(3)
    x, weights = torch.randn(3, 4, 5, 5).double(), torch.randn(3, 4, 5, 5).double()
    layer = learned([2 * gate - 1 for gate in gates], samples="learned", affine=False)
    assert layer.sample_gate is not None
    assert layer.channel_gates is not None
    with torch.no_grad():
        layer.sample_gate.fill_(2 * g - 1)
    y = layer(x)
    (y * weights).sum().backward()
    a, b = (
        torch.tensor(gates).double().requires_grad_(),
        torch.tensor([g]).double().requires_grad_(),
    )
    expected = by_definition(x, a, b)
    (expected * weights).sum().backward()
    assert a.grad is not None
    assert b.grad is not None
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(layer.channel_gates.grad, 0.5 * a.grad)
    torch.testing.assert_close(layer.sample_gate.grad, 0.5 * b.grad)


def test_a_number_of_channels_that_is_not_a_power_of_two_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="power of two"):
        MetaNorm(6)


def test_one_value_for_each_variance_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="connect samples or channels"):
        MetaNorm(4, channels="own")(torch.randn(2, 4, 1, 1))


@pytest.mark.parametrize(
    ("channels", "size"), [("own", 1), ("groups", 2), ("all", 8), ("learned", 8)]
)
def test_the_channel_matrix_shows_which_channels_share(channels: str, size: int) -> None:
    matrix = MetaNorm(8, channels=channels, groups=4).channel_matrix()
    assert matrix.sum(0).tolist() == [size] * 8
    assert torch.equal(matrix, matrix @ matrix / size)
