"""The options of a spec: as records for people, and checked, with their defaults."""

from __future__ import annotations

import difflib
from typing import Any, Dict, List, Mapping, Optional, Type, Union

from pydantic import BaseModel, Field

from normlab.specs.base import Spec

_HUGE = 2**53  # a limit of the storage, which people need not see
_KINDS = {"integer": "integer", "number": "number", "boolean": "boolean", "string": "string"}


class OptionRecord(BaseModel):
    """One option: its name, its allowed values, and its default."""

    name: str
    type: str = Field(description="integer, number, boolean, string, choice, list or object")
    default: Any = Field(
        None,
        description="the default; null where the option is *required* or where null is the default",
    )
    required: bool = False
    nullable: bool = False
    minimum: Union[float, None] = None
    maximum: Union[float, None] = None
    above: Union[float, None] = Field(None, description="exclusive minimum")
    below: Union[float, None] = Field(None, description="exclusive maximum")
    choices: Union[List[str], None] = None
    description: str = ""

    def limits(self) -> str:
        """Describe the range or the choices in a few words; empty without limits."""
        if self.choices:
            return ", ".join(self.choices)
        sides = [
            ("≥ ", self.minimum),
            ("> ", self.above),
            ("≤ ", self.maximum),
            ("< ", self.below),
        ]
        told = [(sign, bound) for sign, bound in sides if bound is not None]
        return ", ".join(f"{sign}{bound:.12g}" for sign, bound in told if abs(bound) < _HUGE)


def options(model: Type[BaseModel]) -> List[OptionRecord]:
    """List the plain options of *model*; fields that are specs themselves are left out."""
    schema = model.model_json_schema()
    required = set(schema.get("required", ()))
    found = []
    for name, field in schema["properties"].items():
        option = _option(name, field, name in required)
        if option is not None:
            found.append(option)
    return found


def _option(name: str, field: Mapping[str, Any], required: bool) -> Optional[OptionRecord]:
    branches = [b for b in field.get("anyOf", [field]) if b.get("type") != "null"]
    if len(branches) != 1 or "const" in field:
        return None
    (branch,) = branches
    facts: Dict[str, Any] = {
        "name": name,
        "default": field.get("default"),
        "required": required,
        "nullable": len(field.get("anyOf", [])) > 1,
        "description": field.get("description", ""),
    }
    if "enum" in branch:
        return OptionRecord(type="choice", choices=branch["enum"], **facts)
    if branch.get("type") == "array":
        return OptionRecord(type="list", **facts)
    if branch.get("type") not in _KINDS:
        return None
    return OptionRecord(type=_KINDS[branch["type"]], **facts, **_range(branch))


def _range(branch: Mapping[str, Any]) -> Dict[str, Any]:
    names = {
        "minimum": "minimum",
        "maximum": "maximum",
        "exclusiveMinimum": "above",
        "exclusiveMaximum": "below",
    }
    return {ours: branch[theirs] for theirs, ours in names.items() if theirs in branch}


def checked_options(options: Type[Spec], who: str, given: Mapping[str, Any]) -> Dict[str, Any]:
    """
    Return *given*, with the defaults of all options that it leaves out.

    Raises:
        ValueError: *who* has no such option (if its options are known), or a value is out of
            its range.
    """
    closed = options.model_config.get("extra") != "allow"
    for name in given:
        if closed and name not in options.model_fields:
            raise ValueError(f"{who} has no option {name!r}; {_offered(options, name)}")
    return options.model_validate(dict(given)).model_dump(mode="json")


def _offered(options: Type[Spec], name: str) -> str:
    known = list(options.model_fields)
    near = difflib.get_close_matches(name, known, n=1)
    if not known:
        return "it has none"
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}known are {', '.join(known)}"
