"""Exchange the normalizers of a trained network; its other weights and the affine stay."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Dict, Iterator, List, Mapping, Optional, Tuple

from torch import Tensor, nn

from normlab.errors import InvalidSpec
from normlab.nets import Site
from normlab.norms import (
    ActivationNorm,
    NormActivation,
    ProxyNorm,
    ScaleOnlyNorm,
    activation_norms,
    remove_weight_normalization,
)
from normlab.norms.carrying import carry_statistics
from normlab.norms.token_norm import TokenNorm
from normlab.specs.jobs import JobSpec
from normlab.specs.norm_base import BatchStatisticsSpec, NormSpec
from normlab.training.bare import bare_network
from normlab.training.fitting import Fitting

# An identity is in the place if a kind has no layer.
_PLACES = (Site, ActivationNorm, NormActivation, ProxyNorm, ScaleOnlyNorm, TokenNorm, nn.Identity)
_TORCHS_EPS = 1e-5


def swap_normalizers(fitting: Fitting, source: Optional[NormSpec]) -> None:
    """
    Give each normalizer of a network the affine, and the running statistics if it has some.

    Everything else in it is new, and the rest of the old normalizer's state is left over.

    Args:
        source: the normalizer in the file; None if it is unknown, then torch's names are assumed.
    """
    for place, module in norm_places(fitting.model):
        for name in ("weight", "bias"):
            _carry_affine(fitting, place, name)
        if source is None or source.kind == "batch":
            _carry_statistics(fitting, place, module, source)
        fitting.leave(place)


def norm_places(model: nn.Module, prefix: str = "") -> Iterator[Tuple[str, nn.Module]]:
    """Yield the places of normalizers in *model*, the outermost modules, with their names."""
    for name, child in model.named_children():
        if isinstance(child, _PLACES):
            yield prefix + name, child
        else:
            yield from norm_places(child, f"{prefix}{name}.")


def plain_weights(
    spec: JobSpec, source: NormSpec, tensors: Mapping[str, Tensor], sizes: Tuple[int, int, int]
) -> Dict[str, Tensor]:
    """
    Return the effective weights of a network with *source*, a normalization of weights.

    Args:
        sizes: channels, classes and side of the images that it was built for.

    Raises:
        InvalidSpec: *tensors* belong to another network.
    """
    net = bare_network(spec, source, sizes)
    try:
        net.load_state_dict(dict(tensors))
    except RuntimeError as e:
        of = f"{spec.model.name} with {source.kind!r}"
        raise InvalidSpec(f"init_from: the file lacks the weights of {of}: {e}") from e
    plain = remove_weight_normalization(net).state_dict()
    return {name: value.detach() for name, value in plain.items()}


def _carry_affine(fitting: Fitting, place: str, name: str) -> None:
    ours = _per_channel(fitting.ours(place), fitting.entries, name)
    theirs = _per_channel(fitting.theirs(place), fitting.tensors, name)
    if len(ours) == len(theirs) == 1 and fitting.fits(ours[0], theirs[0]):
        fitting.carry(ours[0], theirs[0])


def _per_channel(names: List[str], tensors: Mapping[str, Tensor], last: str) -> List[str]:
    return [n for n in names if n.rpartition(".")[2] == last and tensors[n].dim() == 1]


def _carry_statistics(
    fitting: Fitting, place: str, module: nn.Module, source: Optional[NormSpec]
) -> None:
    theirs = {name.rpartition(".")[2]: name for name in fitting.theirs(place)}
    norms = activation_norms(module)
    if not {"running_mean", "running_var"} <= set(theirs) or len(norms) != 1:
        return
    eps = source.eps if isinstance(source, BatchStatisticsSpec) else _TORCHS_EPS
    names = ("running_mean", "running_var", "num_batches_tracked")
    found = {n: fitting.tensors[theirs[n]] if n in theirs else None for n in names}
    carried = carry_statistics(SimpleNamespace(eps=eps, **found), norms[0])
    for ours in fitting.ours(place):
        if ours.rpartition(".")[2] in carried:
            fitting.note_carried(ours, [theirs[n] for n in names if n in theirs])
