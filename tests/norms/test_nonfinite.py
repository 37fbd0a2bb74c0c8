"""Non-finite statistics change nothing and are counted."""

from __future__ import annotations

import copy
import io
from contextlib import contextmanager
from typing import Iterator, List

import pytest
import torch
from torch import Tensor, nn

from normlab.errors import DeviceUnavailable
from normlab.norms import fused_kernels, make, plain_operators
from normlab.norms.finite import nonfinite_statistics
from tests.norms.stateful import ONLINE, SPECS, assert_equal, every_spec, net_of, state_of

FORMS = ["stock", "plain", "loops"]
BAD = {"infinite": float("inf"), "no number": float("nan"), "of no finite variance": 1e30}


@contextmanager
def _computed(form: str, layer: nn.Module) -> Iterator[None]:
    plain_operators(layer, form == "plain")
    try:
        with fused_kernels(form == "loops"):
            yield
    except DeviceUnavailable as e:
        pytest.skip(str(e))


def _see(layer: nn.Module, x: Tensor) -> None:
    y = layer(x.requires_grad_())
    (y * torch.linspace(-1, 1, y.numel()).view_as(y).to(y)).sum().backward()
    layer.zero_grad()


def _batches(n: int) -> List[Tensor]:
    torch.manual_seed(3)
    return [torch.randn(5, 8, 3, 3) + 1 for _ in range(n)]


@every_spec
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bad", BAD)
def test_a_non_finite_batch_leaves_no_trace(name: str, form: str, bad: str) -> None:
    if form == "plain" and name in ONLINE:
        pytest.skip("online has no plain form")
    if name == "l1, as published" and bad == "of no finite variance":
        pytest.skip("it keeps the reciprocal of a deviation, which is finite")
    first, spoilt, second = _batches(3)
    spoilt[:, :, 1, 1] = BAD[bad]
    seen, unseen = (make({**SPECS[name], "proxy": False}, 8) for _ in range(2))
    for layer, batches in ((seen, [first, spoilt, second]), (unseen, [first, second])):
        with _computed(form, layer):
            for x in batches:
                _see(layer, x.clone())
    groups = 3 if name == "streaming, ghosts" else 1  # taken one after the other
    assert nonfinite_statistics(seen) == groups
    seen.nonfinite_statistics.zero_()
    assert_equal(state_of(seen), state_of(unseen))
    assert torch.equal(seen.eval()(second), unseen.eval()(second))
    assert seen(second).isfinite().all()


@every_spec
def test_a_non_finite_first_batch_leaves_the_initial_state(name: str) -> None:
    layer = make({**SPECS[name], "proxy": False}, 8)
    before = state_of(layer)
    _see(layer, torch.full((5, 8, 3, 3), float("inf")))
    after = state_of(layer)
    assert after.pop("nonfinite_statistics") > before.pop("nonfinite_statistics")
    assert_equal(before, after)


@every_spec
def test_the_count_is_not_in_state_dicts(name: str) -> None:
    assert not [key for key in net_of(name).state_dict() if "nonfinite" in key]


def test_state_dicts_go_to_torchs_batch_norm_and_back() -> None:
    ours, theirs = make("batch", 8), nn.BatchNorm2d(8)
    _see(ours, torch.full((5, 8, 3, 3), float("inf")))
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())


def _scaled_training(name: str, batches: List[Tensor]) -> nn.Module:
    """Train as with float16: a gradient scaler skips updates that overflow."""
    net = net_of(name).float()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    for x in batches:
        optimizer.zero_grad()
        scaler.scale(net(x).square().mean()).backward()
        scaler.step(optimizer)
        scaler.update(
            256.0
        )  # a constant scale, because some kinds keep gradients, which contain it
    return net


@every_spec
@pytest.mark.skipif(
    not hasattr(torch.amp, "GradScaler"), reason="torch before 2.3 has no scaler for CPUs"
)
def test_a_training_recovers_from_an_overflow_that_its_scaler_skips(name: str) -> None:
    torch.manual_seed(5)
    batches = [torch.randn(5, 3, 6, 6) for _ in range(5)]
    overflow = (batches[0] * 1e6).half().float()
    assert overflow.isinf().any()
    net = _scaled_training(name, [*batches[:3], overflow, *batches[3:]])
    unspoilt = _scaled_training(name, batches)
    assert nonfinite_statistics(net) >= 2  # of both layers
    for key, value in unspoilt.state_dict().items():
        assert torch.equal(net.state_dict()[key], value), key
    y = net.eval()(batches[0])
    assert y.isfinite().all()
    assert torch.equal(y, unspoilt.eval()(batches[0]))


@pytest.mark.skipif(
    torch.__version__ < "2.4", reason="later versions of torch can compile state that changes"
)
@pytest.mark.parametrize("name", ["batch", "batch, all averaged"])
def test_the_guard_is_in_a_compiled_graph_too(name: str) -> None:
    layer = make(SPECS[name], 8)
    compiled = copy.deepcopy(layer)
    graph = torch.compile(compiled, backend="aot_eager", fullgraph=True)
    first, spoilt, second = _batches(3)
    spoilt[0, 0, 0, 0] = float("nan")
    for x in (first, spoilt, second):
        layer(x)
        graph(x)
    torch.testing.assert_close(compiled.state_dict(), layer.state_dict())
    assert nonfinite_statistics(compiled) == 1


def test_a_pickle_keeps_the_count() -> None:
    layer = make("batch", 8)
    _see(layer, torch.full((5, 8, 3, 3), float("inf")))
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    assert nonfinite_statistics(torch.load(file, weights_only=False)) == 1
