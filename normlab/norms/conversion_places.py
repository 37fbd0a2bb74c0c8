"""Find the places of a model's norm layers, and those that `skip` leaves unchanged."""

from __future__ import annotations

import difflib
from fnmatch import fnmatchcase
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Type, Union

from torch import nn

from normlab.errors import FieldProblem, InvalidSpec
from normlab.norms import foreign_norms
from normlab.norms.foreign_norms import is_norm_of_torch, why_kept

ACTIVATIONS: Dict[Type[nn.Module], str] = {nn.ReLU: "relu", nn.SiLU: "silu", nn.GELU: "gelu"}
Skip = Union[str, Type[nn.Module]]


class LayerPlace(NamedTuple):
    """The place of a layer, and the module right after it if both are in an nn.Sequential."""

    path: str
    parent: nn.Module
    key: str
    layer: nn.Module
    follower: Optional[str]
    """The key of the activation right after it."""
    alone: bool
    """Whether nothing can follow the layer, as no sequence contains it."""

    @property
    def kind(self) -> str:
        """Return the name of the layer's class."""
        return type(self.layer).__name__

    def __str__(self) -> str:
        """Return its name for messages, such as `layer1.0.bn1 (BatchNorm2d)`."""
        return f"{self.path or 'the model'} ({self.kind})"


def find_places(model: nn.Module) -> List[LayerPlace]:
    """Find every normalizing layer of *model*, once per place, in the model's order."""
    if _matters(model):
        return [LayerPlace("", model, "", model, None, alone=False)]
    order = {path: i for i, (path, _) in enumerate(model.named_modules(remove_duplicate=False))}
    found = [
        place
        for path, parent in model.named_modules()
        if not path.endswith("parametrizations") and ".parametrizations." not in f".{path}."
        for place in _places_in(model, path, parent)
    ]
    return sorted(found, key=lambda place: order[place.path])


def _places_in(model: nn.Module, path: str, parent: nn.Module) -> Iterator[LayerPlace]:
    children = list(parent._modules.items())
    sequential = isinstance(parent, nn.Sequential)
    for i, (key, child) in enumerate(children):
        if child is None or not _matters(child):
            continue
        after = children[i + 1] if sequential and i + 1 < len(children) else None
        follower = after[0] if after is not None and type(after[1]) in ACTIVATIONS else None
        alone = after is None and not (sequential and parent is model)
        yield LayerPlace(f"{path}.{key}" if path else key, parent, key, child, follower, alone)


def _matters(module: nn.Module) -> bool:
    return (
        foreign_norms.known(module) is not None
        or is_norm_of_torch(module)
        or why_kept(module) is not None
    )


def split_skipped(
    model: nn.Module, places: Sequence[LayerPlace], skip: Union[Skip, Sequence[Skip]]
) -> Tuple[List[LayerPlace], List[Tuple[LayerPlace, str]]]:
    """
    Return the *places* to convert, and the skipped places, each with its entry of *skip*.

    Args:
        model: the model that the paths belong to.
        places: the places of its norm layers.
        skip: paths, patterns such as `layer4.*`, and classes; each chooses the layers that it
            matches and those inside modules that it matches.

    Raises:
        InvalidSpec: an entry matches no layer (the message suggests near names), or matches only
            one of a layer's two places.
    """
    wanted = [skip] if isinstance(skip, (str, type)) else list(skip)
    modules = dict(model.named_modules())
    by = {place.path: [w for w in wanted if _matches(w, place, modules)] for place in places}
    _refuse_idle([w for w in wanted if not any(w in found for found in by.values())], places)
    left = [place for place in places if not by[place.path]]
    skipped = [(place, _said(by[place.path][0])) for place in places if by[place.path]]
    _refuse_halves(left, [place for place, _ in skipped])
    return left, skipped


def _matches(wanted: Any, place: LayerPlace, modules: Dict[str, nn.Module]) -> bool:
    parts = place.path.split(".") if place.path else []
    paths = [".".join(parts[: n + 1]) for n in range(len(parts))]
    if isinstance(wanted, str):
        return any(fnmatchcase(path, wanted) for path in paths)
    if not (isinstance(wanted, type) and issubclass(wanted, nn.Module)):
        rule = "paths, patterns such as 'layer4.*', and classes such as torch.nn.GroupNorm"
        raise InvalidSpec(f"skip takes {rule}, not {wanted!r}", [FieldProblem("skip", rule)])
    chain = [modules[path] for path in paths[:-1] if path in modules]
    return any(isinstance(module, wanted) for module in (*chain, place.layer))


def _refuse_idle(idle: Sequence[Any], places: Sequence[LayerPlace]) -> None:
    if not idle:
        return
    names = [place.path for place in places if place.path]
    kinds = sorted({place.kind for place in places})
    problems = []
    for wanted in idle:
        text = _said(wanted)
        near = difflib.get_close_matches(text, [*names, *kinds], n=3, cutoff=0.3) or names[:3]
        offer = f"; near it: {', '.join(near)}" if near else ""
        problems.append(FieldProblem("skip", f"{text!r} matches no norm layer{offer}"))
    raise InvalidSpec("skip: " + "; ".join(p.rule for p in problems), problems)


def _refuse_halves(left: Sequence[LayerPlace], skipped: Sequence[LayerPlace]) -> None:
    other = {id(place.layer): place for place in skipped}
    for place in left:
        if id(place.layer) in other:
            path = other[id(place.layer)].path
            rule = f"{path} and {place.path} are one layer; name both, or neither"
            raise InvalidSpec(f"skip: {rule}", [FieldProblem("skip", rule)])


def _said(wanted: Any) -> str:
    return wanted if isinstance(wanted, str) else wanted.__name__
