"""Descriptions of a plugin's parts as facts, which need neither its code nor torch."""

from __future__ import annotations

from typing import Any, Callable, ClassVar, Dict, Mapping, Optional, Tuple, Type

from pydantic import BaseModel, ConfigDict, Field, create_model
from typing_extensions import Literal

from normlab.errors import FieldProblem
from normlab.plugins import making, making_recipes
from normlab.plugins.entries import EntryDescription, fields
from normlab.specs.norm_base import ActivationNormSpec, NormSpec
from normlab.specs.registries import NORMALIZERS, Plugin


class PluginDescription(BaseModel):
    """One plugin: the digest of its source, and the names that it adds."""

    model_config = ConfigDict(frozen=True)

    digest: str
    name: str
    entries: Tuple[EntryDescription, ...] = ()
    needs: Tuple[str, ...] = Field((), description="packages that it needs, as requirements")

    def plugin(self) -> Plugin:
        """Return the plugin in the form that jobs, forms and rules use."""
        parts: Dict[str, Dict[str, Any]] = {}
        for entry in self.entries:
            parts.setdefault(entry.part, {})[entry.name] = _MADE_BY_PART[entry.part](entry)
        return Plugin(self.digest, self.name, parts, self.needs)


class _ModuleNormSpec(NormSpec):
    """A kind that is a module of its author."""

    recurrent: ClassVar[bool] = False

    def problem_in_recurrence(self) -> Optional[FieldProblem]:
        """Return why it cannot be used at the gates of a recurrent net; None if it can."""
        if self.recurrent:
            return super().problem_in_recurrence()
        return self.problem_of_kind("does not say recurrent=True; use 'layer', 'group' or 'none'")


class _MomentsNormSpec(ActivationNormSpec):
    """A kind that is a function from moments to scale and shift."""

    recurrent: ClassVar[bool] = True  # at a time step, moments are over its units


_FORMS: Mapping[str, Type[NormSpec]] = {"module": _ModuleNormSpec, "moments": _MomentsNormSpec}


def _spec_class(entry: EntryDescription) -> Type[NormSpec]:
    kind: Any = (Literal[entry.name], entry.name)
    base: Type[NormSpec] = _FORMS[entry.form]
    made = create_model(entry.name, __base__=base, kind=kind, **fields(entry.options))
    for fact, value in {**entry.facts, "__doc__": entry.summary, "layer": entry.path}.items():
        setattr(made, fact, value)
    return made


_MADE_BY_PART: Dict[str, Callable[[EntryDescription], Any]] = {
    NORMALIZERS: _spec_class,
    **making.MADE,
    **making_recipes.MADE,
}
