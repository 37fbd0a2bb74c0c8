"""Members of packs in float64: trained as a pack, and each alone."""

from __future__ import annotations

import copy
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from accelerators.torch_session import TorchSession
from normlab import nets
from normlab.nets.sites import MeanPool, conv3x3
from normlab.norms import apply_weight_normalization, make
from normlab.specs.jobs import JobSpec
from normlab.training.packs.session import PackSession
from tests.normlab.training.recording import small_job

CHANNELS, CLASSES, SIDE = 3, 4, 5
STEPS = 400  # of a whole training, of which the tests make the first ones

Batch = Tuple[Tensor, Tensor]
State = Dict[str, Any]


def two_members(**fields: Any) -> List[JobSpec]:
    """Return two specs that differ in seed, smoothing and the numbers of SGD."""
    plain = {"lr": 0.02, "weight_decay": 1e-3}
    other = {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.01, "clip_norm": 0.5}
    first = small_job(**{"batch_size": 4, "optimizer": plain, **fields})
    return [first, small_job(**{**first_fields(first), "optimizer": other, **fields, "seed": 5})]


def first_fields(spec: JobSpec) -> Dict[str, Any]:
    """Return the batch size of *spec*, and a smoothing of its own."""
    return {"batch_size": spec.batch_size, "label_smoothing": 0.1}


def net_of(normalizer: Any, activation: Optional[str], seed: int) -> nn.Module:
    """Build two convolutions with normalizers and a classifier, in float64."""
    torch.manual_seed(seed)
    middle = [conv3x3(CHANNELS, 8), make(normalizer, 8, activation or "relu")]
    last = [conv3x3(8, 8, stride=2), make(normalizer, 8, activation)]
    net = nn.Sequential(*middle, *last, MeanPool(), nn.Linear(8, CLASSES))
    return apply_weight_normalization(net, normalizer).double()


def built(spec: JobSpec, side: int, classes: int = CLASSES) -> nn.Module:
    """Build the network of *spec* from its seed, in float64."""
    torch.manual_seed(spec.seed)
    return nets.build(spec.model, spec.normalizer, CHANNELS, classes, side).double()


def batches_of(spec: JobSpec, updates: int, side: int = SIDE, dense: bool = False) -> List[Batch]:
    """Draw samples and classes of a member; with *dense*, classes of each pixel."""
    g = torch.Generator().manual_seed(100 + spec.seed)
    n = spec.samples_per_update
    shape = (n, side, side) if dense else (n,)
    return [
        (
            torch.randn(n, CHANNELS, side, side, generator=g, dtype=torch.float64),
            torch.randint(CLASSES, shape, generator=g),
        )
        for _ in range(updates)
    ]


def train_alone(net: nn.Module, spec: JobSpec, batches: Sequence[Batch], begin: int = 0) -> State:
    """Train a copy of *net*; return the session's state."""
    session = TorchSession(copy.deepcopy(net), spec, torch.device("cpu"))
    for step, (x, y) in enumerate(batches, begin):
        session.prepare(spec.optimizer.lr, step / STEPS)
        session.train(x, y)
    return session.state_dict()


def train_packed(
    nets: Sequence[nn.Module], specs: Sequence[JobSpec], batches: Sequence[Sequence[Batch]]
) -> PackSession:
    """Train *nets* as a pack."""
    session = PackSession(nets, specs)
    for step, together in enumerate(zip(*batches)):
        session.prepare([spec.optimizer.lr for spec in specs], step / STEPS)
        xs, ys = zip(*together)
        session.train(torch.stack(xs), torch.stack(ys))
    return session


def distance(a: State, b: State) -> float:
    """Return the largest difference of two models' states, which have the same names."""
    assert list(a) == list(b)
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


def farthest(
    nets: Sequence[nn.Module], specs: Sequence[JobSpec], batches: Sequence[Sequence[Batch]]
) -> float:
    """Return how far the members of a pack end from the same trainings alone."""
    packed = train_packed(nets, specs, batches)
    alone = [train_alone(*member) for member in zip(nets, specs, batches)]
    return max(distance(packed.state_of(i)["model"], a["model"]) for i, a in enumerate(alone))
