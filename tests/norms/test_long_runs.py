"""Long runs of larger batches from states within a training, compared with the plain formulas.

Every step changes the parameters, as in a training. The transcription runs in float64, the layer
in every form and in float64 and float32.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Tuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normlab.norms import make, set_training_progress
from normlab.norms.meta import kronecker_groups
from normlab.norms.sparsestmax import sparsestmax
from tests.norms import transcriptions
from tests.norms.golden import assert_same
from tests.norms.transcriptions import State

STEPS, SHAPE = 24, (9, 8, 5, 6)
Formula = Callable[[Tensor, State, bool], Tensor]
INF = float("inf")


def _deviation(k: int | None) -> Formula:
    return lambda x, s, train: transcriptions.deviation(x, s, train, 1e-5, k)


def _renorm(variant: str, limits: tuple[float, float, float], *momenta: float) -> Formula:
    pair = (momenta[0], momenta[-1])
    return lambda x, s, train: transcriptions.renorm(x, s, train, variant, limits, pair)


def _published_schedule(x: Tensor, s: State, train: bool) -> Tensor:
    n = float(s["num_batches_tracked"])
    r = min(max(2 * n / 35000 + 25 / 35, 1.0), 3.0)
    d = min(max(5 * n / 20000 - 1.25, 0.0), 5.0)
    return transcriptions.renorm(x, s, train, "ludvb", (1 / r, r, d), (0.01, 0.01))


def _switchable(unbiased: bool) -> Formula:
    def formula(x: Tensor, s: State, train: bool) -> Tensor:
        p, q = s["mean_weight"].softmax(0), s["var_weight"].softmax(0)
        return transcriptions.switchable(x, s, train, p, q, 0.9, unbiased)

    return formula


def _sparse(x: Tensor, s: State, train: bool) -> Tensor:
    p, q = (sparsestmax(s[f"{name}_weight"], 0.375, "reference") for name in ("mean", "var"))
    return transcriptions.switchable(x, s, train, p, q, 0.997, True)


def _meta(batch: bool, v: Callable[[State], Tensor]) -> Formula:
    def formula(x: Tensor, s: State, train: bool) -> Tensor:
        u = None if batch else torch.eye(x.shape[0]).to(x)
        return transcriptions.meta(x, s, train, u, v(s).to(x))

    return formula


def _gates(s: State) -> Tensor:
    g = s["channel_gates"]
    return kronecker_groups((g.detach() > 0).to(g) + 0.5 * (g - g.detach()))


def _proxy(groups: int, strided: bool, activation: Any) -> Formula:
    def formula(x: Tensor, s: State, train: bool) -> Tensor:
        y = transcriptions.group(x, groups, strided)
        return transcriptions.proxy(y, s, activation, 0.03)

    return formula


REFERENCE = {"running": "reference"}
UNBIASED = {"unbiased_reference": True}
CONSTANT = {"kind": "batch_renorm", "clipping": "constant"}
KERAS = {"variant": "keras", "momentum": 0.2, "inference_momentum": 0.05}
MIDPOINTS = {"proxy": True, "quadrature": "midpoint200"}
CASES: Dict[str, Tuple[Dict[str, Any], str | None, Formula]] = {
    "l1": ({"kind": "l1_batch", **REFERENCE}, None, _deviation(None)),
    "linf": ({"kind": "linf_batch", **REFERENCE}, None, _deviation(1)),
    "top 10": ({"kind": "topk_batch", **REFERENCE}, None, _deviation(10)),
    "keras renorm": (
        {**CONSTANT, **KERAS, "r_min": 0.6, "r_max": 1.2, "d_max": 0.3},
        None,
        _renorm("keras", (0.6, 1.2, 0.3), 0.2, 0.05),
    ),
    "keras renorm without limits": (
        {"kind": "batch_renorm", "clipping": "none", "variant": "keras"},
        None,
        _renorm("keras", (0.0, INF, INF), 0.01),
    ),
    "renorm": (
        {**CONSTANT, "r_max": 1.3, "d_max": 0.2},
        None,
        _renorm("paper", (1 / 1.3, 1.3, 0.2), 0.01),
    ),
    "ludvb renorm": ({"kind": "batch_renorm", "variant": "ludvb"}, None, _published_schedule),
    "switchable": ({"kind": "switchable"}, None, _switchable(False)),
    "authors' switchable": ({"kind": "switchable", **UNBIASED}, None, _switchable(True)),
    "authors' sparse switchable": (
        {"kind": "sparse_switchable", "radius": 0.375, "variant": "reference", **UNBIASED},
        None,
        _sparse,
    ),
    "meta, learned groups": ({"kind": "meta"}, None, _meta(False, _gates)),
    "meta, learned groups over the batch": (
        {"kind": "meta", "samples": "batch"},
        None,
        _meta(True, _gates),
    ),
    "meta, everything": (
        {"kind": "meta", "samples": "batch", "channels": "all"},
        None,
        _meta(True, lambda s: torch.ones(8, 8)),
    ),
    "group, strided, relu": (
        {"kind": "group", "groups": 4, "grouping": "strided", **MIDPOINTS},
        "relu",
        _proxy(4, True, F.relu),
    ),
    "layer, silu": ({"kind": "layer", **MIDPOINTS}, "silu", _proxy(1, False, F.silu)),
}


def _layer(case: str, plain: bool) -> nn.Module:
    spec, activation, _ = CASES[case]
    layer = make(spec, SHAPE[1], activation, plain=plain).double()
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for name, buffer in layer.named_buffers():
            if name.endswith("mean"):
                buffer.normal_(0, 0.3)
            elif name.endswith(("_var", "_std")):
                buffer.uniform_(0.5, 1.5)
            elif name.endswith("num_batches_tracked"):
                buffer.fill_(12000)
    return layer


def _data(dtype: torch.dtype) -> Tensor:
    torch.manual_seed(5)
    scale = torch.arange(1, 9, dtype=dtype).view(8, 1, 1)
    x, g = torch.randn(2, STEPS, *SHAPE, dtype=torch.float64).to(torch.float32).to(dtype)
    return torch.stack([0.5 + scale * x, g])  # the same numbers in both dtypes


def _run(layer: nn.Module, dtype: torch.dtype) -> List[Tensor]:
    found = []
    for x, g in zip(*_data(dtype)):
        x = x.clone().requires_grad_()
        layer.zero_grad()
        y = layer(x)
        y.backward(g)
        assert x.grad is not None
        found += [y, x.grad, *_step(dict(layer.named_parameters()))]
    return [*found, *layer.buffers(), layer.eval()(_data(dtype)[0, 0])]


def _run_formula(layer: nn.Module, formula: Formula) -> List[Tensor]:
    tensors = {**dict(layer.named_parameters()), **dict(layer.named_buffers())}
    state = {name.replace("norm.", ""): t for name, t in tensors.items()}
    parameters = {n: p for n, p in state.items() if isinstance(p, nn.Parameter)}
    buffers = [name for name in state if name not in parameters]
    found = []
    for x, g in zip(*_data(torch.float64)):
        x = x.clone().requires_grad_()
        for p in parameters.values():
            p.grad = None
        y = formula(x, state, True)
        y.backward(g)
        if "num_batches_tracked" in state:
            state["num_batches_tracked"] = state["num_batches_tracked"] + 1
        assert x.grad is not None
        found += [y, x.grad, *_step(parameters)]
    if "moving_var" in state:
        state["moving_var"] = (state["moving_std"] ** 2 - 1e-3).clamp(min=0)
    evaluated = formula(_data(torch.float64)[0, 0], state, False)
    return [*found, *(state[name] for name in buffers), evaluated]


def _step(parameters: dict[str, nn.Parameter]) -> List[Tensor]:
    grads = []
    with torch.no_grad():
        for name, p in parameters.items():
            grads.append(torch.zeros_like(p) if p.grad is None else p.grad.clone())
            if "gate" not in name:  # rounding would flip them
                p.sub_(1e-4 * grads[-1])
    return grads


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 2e-5)])
@pytest.mark.parametrize("case", CASES)
def test_a_long_run_follows_the_formulas(
    case: str, form: str, dtype: torch.dtype, tolerance: float
) -> None:
    layer = _layer(case, plain=form == "plain")
    if "sparse" in case and dtype == torch.float32:
        tolerance = 5e-4  # gradients of logits, which nearly cancel
    expected = _run_formula(_layer(case, plain=True), CASES[case][2])
    found = _run(layer.to(dtype), dtype)
    names = [f"array {i}" for i in range(len(found))]
    buffers = [name for name, _ in layer.named_buffers()]
    names[-1 - len(buffers) :] = [*buffers, "evaluation"]
    for name, a, b in zip(names, found, expected):
        if name != "num_batches_tracked":  # kinds that do not use it need not count
            assert_same(a, b, tolerance, name)


def test_a_sparse_layer_freezes_where_the_authors_do() -> None:
    spec = {"kind": "sparse_switchable", "variant": "reference", **UNBIASED}
    layer = make(spec, SHAPE[1]).double()
    names = ("mean_weight", "var_weight")
    start = {"mean_weight": [1.3, 1.0, 0.7], "var_weight": [0.9, 1.0, 1.4]}
    for name in names:
        layer.get_parameter(name).data.copy_(torch.tensor(start[name]))
    state = {n: t.detach().clone() for n, t in [*layer.named_parameters(), *layer.named_buffers()]}
    for name in (*names, "weight", "bias"):
        state[name].requires_grad_()
    fixed = dict.fromkeys(names, False)
    for t, (x, g) in enumerate(zip(*_data(torch.float64))):
        radius = t / 16
        set_training_progress(layer, min(radius, 1.0))
        ratios = _authors_ratios(state, fixed, radius)
        y = transcriptions.switchable(x, state, True, *ratios, 0.997, True)
        found = layer(x)
        assert_same(found, y, 1e-6, f"step {t}")  # their centre is in float32
        for name in names:
            learned = layer.get_parameter(name)
            for logits, out in ((state[name], y), (learned, found)):
                grads = torch.autograd.grad(out, logits, g, retain_graph=True, allow_unused=True)
                if grads[0] is not None:
                    with torch.no_grad():
                        logits.sub_(1e-4 * grads[0])
            assert_same(learned, state[name], 1e-5, name)
    assert all(fixed.values())
    assert layer.get_buffer("mean_fixed")
    assert layer.get_buffer("var_fixed")


def _authors_ratios(state: State, fixed: dict[str, bool], radius: float) -> List[Tensor]:
    found = []
    for name in fixed:
        p = state[name].detach() if fixed[name] else sparsestmax(state[name], radius, "reference")
        if not fixed[name] and float((p.max() - p.min()).detach()) >= 1:
            fixed[name] = True
            p = p.detach()
            state[name].data.copy_(p)
        found.append(p)
    return found


def test_a_long_run_in_one_dimension_mixes_unbiased_variances() -> None:
    torch.manual_seed(0)
    layer = make({"kind": "switchable", "momentum": 0.003, **UNBIASED}, 6, dims=1).double()
    mean, var = torch.randn(6).double(), 0.5 + torch.rand(6).double()
    layer.get_buffer("running_mean").copy_(mean)
    layer.get_buffer("running_var").copy_(var)
    p, q = torch.randn(2, 2).double()
    layer.get_parameter("mean_weight").data.copy_(p)
    layer.get_parameter("var_weight").data.copy_(q)
    p, q = p.softmax(0), q.softmax(0)
    for _ in range(20):
        x, g = torch.randn(2, 17, 6).double()
        x = (2 * x + 1).requires_grad_()
        bn, ln = (torch.var_mean(x, dim, keepdim=True) for dim in (0, 1))  # variances unbiased
        mixed_mean = p[0] * ln[1] + p[1] * bn[1]
        y = (x - mixed_mean) / (q[0] * ln[0] + q[1] * bn[0] + 1e-5).sqrt()
        mean, var = 0.997 * mean + 0.003 * bn[1][0], 0.997 * var + 0.003 * bn[0][0]
        found = layer(x)
        assert_same(found, y, 1e-12)
        for a, b in zip(*(torch.autograd.grad(out, x, g, retain_graph=True) for out in (found, y))):
            assert_same(a, b, 1e-12)
    assert_same(layer.get_buffer("running_mean"), mean, 1e-12)
    assert_same(layer.get_buffer("running_var"), var, 1e-12)
