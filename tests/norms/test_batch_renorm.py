import pytest
import torch

from normlab.errors import InvalidSpec
from normlab.norms import make, set_training_progress
from normlab.norms.batch_renorm import BatchRenorm
from tests.norms.golden import Golden, assert_same

KERAS = {"kind": "batch_renorm", "variant": "keras", "momentum": 0.1}
CLIPPED = {**KERAS, "clipping": "constant", "r_max": 3.0, "d_max": 5.0}
LUDVB = {"kind": "batch_renorm", "variant": "ludvb"}
KERAS_BUFFERS = {
    "running_mean": "renorm_mean",
    "running_std": "renorm_stddev",
    "moving_mean": "moving_mean",
    "moving_std": "moving_stddev",
}
LUDVB_BUFFERS = {name: name for name in ("running_mean", "running_std", "num_batches_tracked")}
FILES = [
    ("brn_tf_2d_n1", CLIPPED, KERAS_BUFFERS, 1e-6),
    ("brn_tf_2d_n2", CLIPPED, KERAS_BUFFERS, 1e-6),
    ("brn_tf_2d_n2_noclip", {**KERAS, "clipping": "none"}, KERAS_BUFFERS, 1e-6),
    ("brn_ludvb_2d_n1_step0", LUDVB, LUDVB_BUFFERS, 1e-12),
    ("brn_ludvb_2d_n2", LUDVB, LUDVB_BUFFERS, 1e-6),
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("plain", [False, True], ids=["engine", "plain"])
@pytest.mark.parametrize(("name", "spec", "buffers", "tolerance"), FILES, ids=[f[0] for f in FILES])
def test_it_matches_both_references(
    name: str,
    spec: "dict[str, object]",
    buffers: "dict[str, str]",
    tolerance: float,
    plain: bool,
    dtype: torch.dtype,
) -> None:
    golden = Golden(name, dtype)
    if dtype == torch.float32:
        tolerance = 1e-5
    layer = make(spec, golden["x"].shape[2], plain=plain).to(dtype)
    keras = "tf" in name
    scale, shift = ("gamma", "beta") if keras else ("weight", "bias")
    layer.weight.data.copy_(golden[scale])
    layer.bias.data.copy_(golden[shift])
    for ours, theirs in buffers.items():
        getattr(layer, ours).copy_(golden[f"state0_{theirs}"])
    for t in range(golden["x"].shape[0]):
        layer.zero_grad()
        x = golden["x"][t].requires_grad_()
        y = layer(x)
        y.backward(golden["gy"][t])
        assert x.grad is not None
        assert_same(y, golden["y"][t], tolerance, "y")
        assert_same(x.grad, golden["gx"][t], tolerance, "gx")
        assert_same(layer.weight.grad, golden[f"g_{scale}"][t], tolerance, scale)
        assert_same(layer.bias.grad, golden[f"g_{shift}"][t], tolerance, shift)
        for ours, theirs in buffers.items():
            assert_same(getattr(layer, ours), golden[f"state_{theirs}"][t], tolerance, ours)
        if keras:
            assert_same(layer.moving_var, golden["state_moving_variance"][t], tolerance)
    assert_same(layer.eval()(golden["x_eval"]), golden["y_eval"], tolerance, "y_eval")


def test_before_the_limits_relax_it_is_batch_norm() -> None:
    x = torch.randn(4, 6, 3, 3)
    torch.testing.assert_close(
        make("batch_renorm", 6)(x), make({"kind": "batch", "eps": 1e-3}, 6)(x)
    )


def test_without_limits_it_normalizes_by_the_running_statistics() -> None:
    layer = BatchRenorm(6, clipping="none")
    layer.running_mean.uniform_(-1, 1)
    layer.running_std.uniform_(0.5, 2)
    mean, std = layer.running_mean.clone(), layer.running_std.clone()
    x = torch.randn(4, 6, 3, 3)
    torch.testing.assert_close(layer(x), (x - mean.view(-1, 1, 1)) / std.view(-1, 1, 1))


@pytest.mark.parametrize(
    ("step", "limits"),
    [(0, (1.0, 0.0)), (5000, (1.0, 0.0)), (15000, (1 + 2 * 10 / 35, 2.5)), (40000, (3.0, 5.0))],
)
def test_limits_follow_the_papers_schedule(step: int, limits: "tuple[float, float]") -> None:
    layer = BatchRenorm(2)
    layer.num_batches_tracked.fill_(step)
    assert layer.limits()[1:] == pytest.approx(limits)


def test_limits_can_follow_the_runs_progress() -> None:
    layer = make({"kind": "batch_renorm", "clipping": "progress"}, 2)
    assert layer.limits()[1:] == (1.0, 0.0)
    set_training_progress(layer, 1.0)
    assert layer.limits()[1:] == (3.0, 5.0)


def test_limits_that_end_before_the_warmup_are_refused() -> None:
    with pytest.raises(InvalidSpec, match="must be larger than warmup_steps"):
        BatchRenorm(2, warmup_steps=30000)


def test_the_lower_limit_of_r_may_be_another_than_the_reciprocal() -> None:
    layer = BatchRenorm(2, clipping="progress", r_max=3.0, r_min=0.5)
    assert layer.limits()[0] == 1.0
    set_training_progress(layer, 1.0)
    assert layer.limits()[0] == 0.5
    layer.running_std.fill_(1e3)
    x = torch.randn(64, 2, 3, 3)
    y = layer(x) - layer(x).mean((0, 2, 3), keepdim=True)
    torch.testing.assert_close(y.std((0, 2, 3)), torch.full((2,), 0.5), rtol=1e-2, atol=0)


def test_the_statistics_for_inference_have_a_separate_momentum() -> None:
    layer = BatchRenorm(2, variant="keras", momentum=0.5, inference_momentum=0.1)
    x = 4 + torch.randn(8, 2, 3, 3)
    layer(x)
    mean = x.mean((0, 2, 3))
    torch.testing.assert_close(layer.running_mean, 0.5 * mean)
    torch.testing.assert_close(layer.moving_mean, 0.1 * mean)


def test_keras_evaluates_before_training_by_a_variance_of_one() -> None:
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    y = BatchRenorm(3, variant="keras").double().eval()(x)
    torch.testing.assert_close(y, x / (1 + 1e-3) ** 0.5)


def test_small_deviations_keep_their_digits_in_evaluation() -> None:
    layer = BatchRenorm(1, variant="ludvb").eval()
    layer.running_std.fill_(1.0009e-3)  # its square is a thousandth of eps
    x = torch.tensor([[[[1e-3]]]])
    assert layer(x).item() == pytest.approx(1 / 1.0009, rel=1e-6)
