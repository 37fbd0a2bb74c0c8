"""`convert` refuses by name what it cannot keep: all in one error, before anything changes."""

from __future__ import annotations

from typing import Any, Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm

from normlab.errors import InvalidSpec
from normlab.norms.conversion import convert
from normlab.specs.normalizers import SPECS


def _behind(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 1), *layers)


def _untracked() -> nn.Module:
    return _behind(nn.BatchNorm2d(8, track_running_stats=False))


def _tracked() -> nn.Module:
    return _behind(nn.InstanceNorm2d(8, track_running_stats=True))


def _frozen() -> nn.Module:
    norm = nn.BatchNorm2d(8)
    norm.track_running_stats = False
    return _behind(norm)


def _replaced() -> nn.Module:
    norm = nn.BatchNorm2d(8)
    norm.forward = torch.relu
    return _behind(norm)


def _with_state_hook() -> nn.Module:
    norm = nn.BatchNorm2d(8)
    norm._register_state_dict_hook(lambda *given: None)
    return _behind(norm)


def _tied(*followers: nn.Module) -> nn.Module:
    norm = nn.BatchNorm2d(8)
    return nn.Sequential(*(part for follower in followers for part in (norm, follower)))


SYNC = "shares its statistics over all replicas"
BAD: list[tuple[Callable[[], nn.Module], Any, str]] = [
    (_untracked, "batch", r"1 \(BatchNorm2d\): it has track_running_stats=False.*'group'"),
    (_untracked, "online", "track_running_stats=False"),
    (_frozen, "batch", "track_running_stats=False"),
    (_tracked, "instance", r"1 \(InstanceNorm2d\): it has track_running_stats=True"),
    (lambda: _behind(nn.SyncBatchNorm(8)), "batch_renorm", SYNC),
    (lambda: _behind(nn.SyncBatchNorm(8)), "switchable", SYNC),
    (lambda: _behind(nn.SyncBatchNorm(8)), {"kind": "batch", "virtual_batch_size": 2}, SYNC),
    (lambda: _behind(nn.SyncBatchNorm(8, process_group="some")), "batch", "a process group"),
    (_replaced, "group", "its forward was replaced"),
    (_with_state_hook, "group", "hooks on its state dict"),
    (lambda: _behind(parametrizations.spectral_norm(nn.LayerNorm([8, 2, 2]))), "group", "parametr"),
    (lambda: _behind(spectral_norm(nn.LayerNorm([8, 2]))), "group", "not an nn.Parameter"),
    (lambda: _tied(nn.ReLU(), nn.SiLU()), {"kind": "group", "proxy": True}, "another activation"),
    (lambda: _behind(nn.BatchNorm2d(8, eps=0.0)), "batch", r"eps: .* greater than 0, not 0\.0"),
]


@pytest.mark.parametrize(("build", "normalizer", "message"), BAD)
def test_a_changed_meaning_is_refused_by_name(
    build: Callable[[], nn.Module], normalizer: Any, message: str
) -> None:
    model = build()
    before = list(model.modules())
    with pytest.raises(InvalidSpec, match=message):
        convert(model, normalizer)
    assert list(model.modules()) == before


def test_all_refusals_come_in_one_error_with_a_problem_each() -> None:
    model = nn.Sequential(
        nn.BatchNorm2d(8, track_running_stats=False),
        nn.BatchNorm2d(8),
        nn.SyncBatchNorm(8, track_running_stats=False),
        nn.LazyBatchNorm2d(),
        nn.GroupNorm(3, 6),
    )
    with pytest.raises(InvalidSpec) as caught:
        convert(model, "streaming")
    assert [p.field for p in caught.value.problems] == ["0", "2", "3"]
    for problem in caught.value.problems[:2]:
        assert f"skip=['{problem.field}']" in problem.rule
    assert str(caught.value).count("\n") == 3
    assert isinstance(model[1], nn.BatchNorm2d)  # nothing changed


STATELESS = [s.model_fields["kind"].default for s in SPECS if not s.stateful]


@pytest.mark.parametrize("kind", STATELESS)
def test_kinds_without_running_statistics_replace_layers_that_track_none(kind: str) -> None:
    model = convert(_untracked(), kind)
    x = torch.randn(4, 3, 5, 5)
    torch.testing.assert_close(model.eval()(x), model.train()(x))


def test_a_refused_normalization_of_weights_changes_no_norm() -> None:
    model = _behind(nn.BatchNorm2d(8))
    nn.init.zeros_(model[0].weight)
    with pytest.raises(InvalidSpec, match="all zero"):
        convert(model, "weight")
    assert isinstance(model[1], nn.BatchNorm2d)


def test_synchronized_batch_norm_stays_synchronized() -> None:
    assert convert(_behind(nn.SyncBatchNorm(8)), "batch")[1].sync
    given = convert(_behind(nn.SyncBatchNorm(8)), {"kind": "batch", "sync": False})
    assert not given[1].sync
    assert not convert(_behind(nn.BatchNorm2d(8)), "batch")[1].sync


def test_running_statistics_of_instance_norm_are_kept_in_batch_norm() -> None:
    torch.manual_seed(0)
    model = _tracked()
    model(torch.randn(4, 3, 5, 5))
    model.eval()
    x = torch.randn(2, 3, 5, 5)
    expected = model(x)
    torch.testing.assert_close(convert(model, "batch")(x), expected)
