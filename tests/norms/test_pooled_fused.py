import copy
import math
from typing import Any, Dict, List, Tuple

import pytest
import torch
from torch import Tensor, nn

from normlab.errors import InvalidSpec
from normlab.norms import make, plain_operators, set_training_progress
from normlab.norms.switchable import softmax

CASES: Dict[str, Dict[str, Any]] = {
    "ghost batches": {"kind": "batch", "virtual_batch_size": 2},
    "ghost batches with a rest": {"kind": "batch", "virtual_batch_size": 3},
    "strided groups": {"kind": "group", "groups": 2, "grouping": "strided"},
    "switchable": {"kind": "switchable"},
    "switchable without batch": {"kind": "switchable", "batch_statistics": False},
    "switchable ghosts": {"kind": "switchable", "virtual_batch_size": 3},
    "sparse switchable": {"kind": "sparse_switchable", "radius": 0.3},
    "one-hot switchable": {"kind": "sparse_switchable", "radius": 1.0},
    "without affine": {"kind": "switchable", "affine": False},
    "renorm": {"kind": "batch_renorm", "clipping": "constant", "r_max": 1.1, "d_max": 0.3},
    "renorm of ghosts": {"kind": "batch_renorm", "clipping": "none", "virtual_batch_size": 2},
    "keras renorm": {"kind": "batch_renorm", "clipping": "constant", "variant": "keras"},
    "ludvb renorm": {"kind": "batch_renorm", "clipping": "constant", "variant": "ludvb"},
    "streaming": {"kind": "streaming"},
    "learned groups": {"kind": "meta"},
    "learned own": {"kind": "meta", "gate_init": "own"},
    "learned groups over the batch": {"kind": "meta", "samples": "batch"},
    "given groups": {"kind": "meta", "channels": "groups", "groups": 2},
    "everything": {"kind": "meta", "channels": "all", "samples": "batch"},
    "mean square": {"kind": "rms"},
    "mean square of groups": {"kind": "rms", "groups": 4, "affine": False},
    "mean deviation": {"kind": "l1_batch"},
    "mean deviation of ghosts": {"kind": "l1_batch", "virtual_batch_size": 3},
    "largest deviation": {"kind": "linf_batch", "running": "reference"},
    "largest deviations": {"kind": "topk_batch", "k": 3, "constant": "consistent"},
    "largest of ghosts": {"kind": "topk_batch", "k": 2, "virtual_batch_size": 3, "affine": False},
}
# Constants for the gradient, straight-through gates, ratios that freeze when one-hot.
NO_DERIVATIVE = [
    c for c in CASES if any(w in c for w in ("renorm", "learned", "sparse", "one-hot"))
]
NO_DERIVATIVE.append("streaming")


def some_layer(case: str, dtype: torch.dtype = torch.float64, dims: int = 2) -> nn.Module:
    torch.manual_seed(1)
    if dims == 1 and case == "switchable without batch":
        pytest.skip("in one dimension there would be nothing to mix")
    layer = make(CASES[case], 8, dims=dims).to(dtype)
    for parameter in layer.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return layer


def three_steps(layer: nn.Module, inputs: Tensor, gradients: Tensor) -> List[Tensor]:
    found = []
    for i, (x, g) in enumerate(zip(inputs.clone(), gradients)):
        x.requires_grad_()
        layer.zero_grad()
        set_training_progress(layer, i / 3)
        y = layer(x)
        y.backward(g)
        assert x.grad is not None
        found += [y.detach(), x.grad, *(p.grad for p in layer.parameters() if p.grad is not None)]
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.sub_(0.0)  # a change of the weights, which streaming detects
    return [*found, *(b.clone() for b in layer.buffers())]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-4)])
@pytest.mark.parametrize("case", CASES)
def test_the_compiled_node_equals_the_definition(
    case: str, dtype: torch.dtype, tolerance: float, request: pytest.FixtureRequest
) -> None:
    layer = some_layer(case, dtype)
    inputs, gradients = torch.randn(2, 3, 4, 8, 5, 3, dtype=dtype)
    inputs = 1 + inputs * torch.arange(1, 9, dtype=dtype).view(8, 1, 1)
    compare_forms(layer, inputs, gradients, tolerance, request)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", CASES)
def test_the_compiled_node_equals_the_definition_without_positions(
    case: str, dtype: torch.dtype, request: pytest.FixtureRequest
) -> None:
    layer = some_layer(case, dtype, dims=1)
    inputs, gradients = torch.randn(2, 3, 14, 8).to(dtype)  # samples for one vector, and a rest
    tolerance = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 0.1}[dtype]
    compare_forms(layer, 1 + inputs, gradients, tolerance, request)


def compare_forms(
    layer: nn.Module,
    inputs: Tensor,
    gradients: Tensor,
    tolerance: float,
    request: pytest.FixtureRequest,
) -> None:
    """Train a copy of *layer* in stock operators, and *layer* in compiled ones."""
    stock = three_steps(copy.deepcopy(layer), inputs, gradients)
    request.getfixturevalue("fused")
    for a, b in zip(three_steps(layer, inputs, gradients), stock):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-4)])
@pytest.mark.parametrize("positions", [(), (3,)], ids=str)
@pytest.mark.parametrize("opened", ["101010", "010101", "110011", "001110", "000000", "111111"])
def test_gates_between_far_and_near_channels_equal_the_definition(
    opened: str,
    positions: Tuple[int, ...],
    dtype: torch.dtype,
    tolerance: float,
    request: pytest.FixtureRequest,
) -> None:
    torch.manual_seed(2)
    layer = make("meta", 64, dims=1).to(dtype)
    gates: Any = layer.channel_gates
    gates.data.copy_(torch.tensor([0.1 if gate == "1" else -0.1 for gate in opened]))
    inputs, gradients = torch.randn(2, 1, 5, 64, *positions, dtype=dtype)
    compare_forms(layer, 1 + inputs, gradients, tolerance, request)


@pytest.mark.parametrize("gates", [[math.nan] * 4, [0.1, math.nan, -0.1, 0.1], [math.inf] * 4])
def test_gates_that_are_not_finite_make_everything_nan(
    gates: List[float], request: pytest.FixtureRequest
) -> None:
    layer: Any = make("meta", 16)
    layer.channel_gates.data.copy_(torch.tensor(gates))
    inputs, gradients = torch.randn(2, 1, 3, 16, 2, 2)
    stock = three_steps(copy.deepcopy(layer), inputs, gradients)
    request.getfixturevalue("fused")
    for compiled, plain in zip(three_steps(layer, inputs, gradients), stock):
        torch.testing.assert_close(compiled, plain, rtol=2e-4, atol=2e-4, equal_nan=True)


@pytest.mark.usefixtures("fused")
@pytest.mark.parametrize("case", [c for c in CASES if c not in NO_DERIVATIVE])
def test_the_compiled_derivative_is_that_of_the_compiled_function(case: str) -> None:
    layer = some_layer(case)
    x = torch.randn(4, 8, 2, 3, dtype=torch.float64, requires_grad=True)
    parameters = list(layer.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *parameters))


@pytest.mark.usefixtures("fused")
def test_the_compiled_node_is_executed() -> None:
    layer = some_layer("switchable", torch.float32)
    node = layer(torch.randn(2, 8, 3, 3)).grad_fn
    assert "Normalize" in node.name()


@pytest.mark.usefixtures("fused")
@pytest.mark.parametrize("case", ["ghost batches", "switchable", "mean square", "mean deviation"])
def test_the_compiled_node_is_executed_without_positions(case: str) -> None:
    layer = some_layer(case, torch.float32, dims=1)
    assert "Normalize" in layer(torch.randn(4, 8)).grad_fn.name()


@pytest.mark.usefixtures("fused")
def test_a_nan_is_the_largest_deviation_of_its_channel_alone() -> None:
    x = torch.randn(6, 8, 2, 2)
    x[1, 2, 0, 0] = torch.nan
    y = make(CASES["largest deviations"], 8)(x)
    assert y[:, 2].isnan().all()
    assert not y[:, [0, 1, 3, 4, 5, 6, 7]].isnan().any()


@pytest.mark.usefixtures("fused")
def test_digits_survive_a_large_mean() -> None:
    layer = make(CASES["ghost batches"], 3)
    x = 1000 + torch.randn(4, 3, 16, 16)
    exact = make(CASES["ghost batches"], 3).double()(x.double())
    torch.testing.assert_close(layer(x).double(), exact, rtol=0, atol=2e-4)


@pytest.mark.usefixtures("fused")
def test_nan_stays_in_its_sample() -> None:
    x = torch.randn(3, 8, 4, 4)
    x[1, 2, 0, 0] = torch.nan
    y = make(CASES["strided groups"], 8)(x)
    assert y[1].isnan().any()
    assert not y[[0, 2]].isnan().any()


@pytest.mark.usefixtures("fused")
def test_the_error_for_a_second_derivative_names_an_alternative() -> None:
    layer = some_layer("switchable")
    x = torch.randn(2, 8, 3, 3, dtype=torch.float64, requires_grad=True)
    with pytest.raises(InvalidSpec, match="plain_operators"):
        torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    plain_operators(layer)
    (gx,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    assert gx.requires_grad


@pytest.mark.usefixtures("fused")
def test_streamed_gradients_may_come_after_another_forward() -> None:
    layer = some_layer("streaming", torch.float32)
    x = torch.randn(4, 8, 3, 3, requires_grad=True)
    first, second = layer(x), layer(2 * x)
    second.sum().backward()
    first.sum().backward()
    assert int(layer.get_buffer("gradient_count")) == 2


@pytest.mark.usefixtures("fused")
def test_logits_may_freeze_between_a_forward_and_its_backward() -> None:
    layer: Any = make({"kind": "sparse_switchable", "radius": 0.3}, 8)
    x = torch.randn(4, 8, 3, 3)
    y = layer(x)
    layer.radius.fill_(2.0)
    layer(x)
    assert bool(layer.mean_fixed)
    y.square().sum().backward()
    assert layer.mean_weight.grad.isfinite().all()


@pytest.mark.parametrize(
    "logits", [[0.3, -2.0, 1.0], [800.0, -800.0], [1.0, math.nan], [math.inf, 0.0]]
)
def test_a_softmax_in_numbers_is_torchs(logits: List[float]) -> None:
    z = torch.tensor(logits, dtype=torch.float64)
    p, slopes = softmax(logits)
    torch.testing.assert_close(torch.tensor(p).double(), z.softmax(0), equal_nan=True)
    differentiate: Any = torch.autograd.functional.jacobian  # it has no annotations
    jacobian = differentiate(lambda z: z.softmax(0), z)
    torch.testing.assert_close(torch.tensor(slopes).double(), jacobian, equal_nan=True)
