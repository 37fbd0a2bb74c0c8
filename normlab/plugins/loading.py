"""Load a plugin into this process: run its code, and register the parts that it declares."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
import types
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

from normlab.errors import InvalidSpec
from normlab.plugins import parts, recipe_parts
from normlab.plugins.declaring import Declared, gathering
from normlab.plugins.descriptions import PluginDescription
from normlab.plugins.entries import EntryDescription, described_options
from normlab.plugins.needs import checked_needs
from normlab.plugins.sources import read_source
from normlab.specs import registries
from normlab.specs.augmentations import AUGMENTATIONS
from normlab.specs.datasets import DATASETS
from normlab.specs.diagnostics import DIAGNOSTICS
from normlab.specs.measures import HOOKS, METRICS
from normlab.specs.models import MODELS
from normlab.specs.normalizers import BY_KIND
from normlab.specs.optimizers import OPTIMIZERS
from normlab.specs.registries import NORMALIZERS, Registry
from normlab.specs.schedules import SCHEDULES
from normlab.specs.tasks import TASKS

_OWN: Sequence[Registry[Any]] = (
    BY_KIND,
    MODELS,
    DATASETS,
    TASKS,
    METRICS,
    HOOKS,
    DIAGNOSTICS,
    OPTIMIZERS,
    SCHEDULES,
    AUGMENTATIONS,
)
_MOMENTS = ("mean", "var")
_loaded: Dict[str, PluginDescription] = {}  # by digest, so that the same code runs once


def load(place: Path, name: str, wanted: Optional[str] = None) -> PluginDescription:
    """
    Run the code in the folder *place* and describe what it declares.

    Module names contain the digest, so two versions of a plugin can be loaded at once.

    Args:
        place: the folder that `Source.written_below` returned.
        name: the plugin's name, for messages.
        wanted: the digest that it must have; None for any.

    Raises:
        InvalidSpec: the code is not *wanted*, declares nothing, or declares a part that cannot
            be used.
        Exception: any error that the code raises.
    """
    digest = read_source(place).digest
    if wanted not in (None, digest):
        raise InvalidSpec(
            f"{place} was changed: its digest is {digest}, not {wanted}; register it again"
        )
    if digest not in _loaded:
        package = f"normlab_plugin_{digest[:16]}"
        try:
            with gathering() as declared:
                _import_all(place, package)
            if not declared:
                raise InvalidSpec(
                    f"{name} declares nothing; put @normlab.normalizer('my_norm') before a class"
                )
            _loaded[digest] = _as_plugin(declared, digest, name, package)
        except BaseException:
            _forget(package)  # so that the next try fails in the same way
            raise
    return _loaded[digest].model_copy(update={"name": name})


def use(descriptions: Sequence[PluginDescription]) -> None:
    """Let every job of this process use the plugins of *descriptions*, which are loaded."""
    registries.put_in_force([description.plugin() for description in descriptions])


def use_here(declared: Declared) -> None:
    """Register at once a part that is declared outside of a plugin, in a notebook or a script."""
    try:
        text = inspect.getsource(declared.target)
    except (OSError, TypeError):  # typed into an interpreter, which keeps no source
        text = repr(declared)
    digest = hashlib.sha256(text.encode()).hexdigest()
    package, where = f"normlab_here_{digest[:16]}", declared.target.__module__ or "exec"
    sys.modules[package] = types.ModuleType(package)
    others = [
        p for p in registries.in_force() if declared.name not in p.entries.get(declared.part, ())
    ]
    ours = _as_plugin([declared], digest, where, package)
    registries.put_in_force([*others, ours.plugin()])


def _import_all(place: Path, package: str) -> None:
    init = place / "__init__.py"
    parent = types.ModuleType(package)
    parent.__path__ = [str(place)]
    sys.modules[package] = parent
    if str(place) not in sys.path:
        sys.path.append(str(place))  # modules of the folder may import each other by name
    names = [path.stem for path in sorted(place.glob("*.py")) if path != init]
    for name in ["__init__"] * init.exists() + names:
        importlib.import_module(f"{package}.{name}")


def _forget(package: str) -> None:
    for name in [name for name in sys.modules if name.startswith(package)]:
        del sys.modules[name]


def _as_plugin(
    declared: Sequence[Declared], digest: str, name: str, package: str
) -> PluginDescription:
    return PluginDescription(
        digest=digest,
        name=name,
        entries=tuple(_described(declared, name, package)),
        needs=checked_needs([need for one in declared for need in checked_needs(one.needs)]),
    )


def _described(declared: Sequence[Declared], plugin: str, package: str) -> List[EntryDescription]:
    """Describe what *plugin* declares, and give each object a name in the module *package*."""
    seen: Set[Tuple[str, str]] = set()
    for one in declared:
        own = next((r.own for r in _OWN if r.part == one.part), {})
        if one.name in own:
            raise InvalidSpec(
                f"{plugin}: the {one.part} {one.name!r} is normlab's own; choose another name"
            )
        if (one.part, one.name) in seen:
            raise InvalidSpec(f"{plugin}: the {one.part} {one.name!r} is declared twice")
        seen.add((one.part, one.name))
        setattr(sys.modules[package], f"{one.part}_{one.name}", one.target)
    return [
        _DESCRIBED_BY_PART[one.part](one, f"{package}:{one.part}_{one.name}") for one in declared
    ]


def _normalizer(declared: Declared, path: str) -> EntryDescription:
    target = declared.target
    parameters = list(inspect.signature(target).parameters)
    if inspect.isclass(target):
        if parameters[:1] != ["num_features"]:
            raise InvalidSpec(
                f"{target.__name__}({', '.join(parameters)}): the first argument of a normalizer "
                "is num_features, its channels"
            )
        form, given = "module", {"num_features", "dims", "activation"}
    else:
        if tuple(parameters[:2]) != _MOMENTS:
            raise InvalidSpec(
                f"{target.__name__}({', '.join(parameters)}): a normalizer is a class, or a "
                "function of (mean, var, *, options...) that returns (scale, shift)"
            )
        form, given = "moments", {*_MOMENTS, "eps"}
    return EntryDescription(
        part=declared.part,
        name=declared.name,
        path=path,
        summary=declared.summary,
        form=form,
        facts=declared.facts,
        options=described_options(target, given),
    )


_DESCRIBED_BY_PART: Dict[str, Any] = {
    NORMALIZERS: _normalizer,
    **parts.DESCRIBED,
    **recipe_parts.DESCRIBED,
}
