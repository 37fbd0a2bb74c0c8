"""What describes a name that a plugin adds: facts, and options from a constructor's arguments."""

from __future__ import annotations

import inspect
from typing import Any, Callable, Collection, Dict, List, Mapping, Optional, Tuple, Type, Union

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.errors import PydanticSchemaGenerationError
from typing_extensions import Literal, get_type_hints

from normlab.errors import InvalidSpec
from normlab.specs.base import Label

Schema = Mapping[str, Any]
Fields = Dict[str, Any]  # arguments of pydantic's `create_model`

_TYPES: Mapping[str, Any] = {"integer": int, "number": float, "boolean": bool, "string": Label}
_LIMITS = {"minimum": "ge", "maximum": "le", "exclusiveMinimum": "gt", "exclusiveMaximum": "lt"}
_ALLOWED = "bool, int, float, str, Literal[...] and Optional of these"


class EntryDescription(BaseModel):
    """One name that a plugin adds."""

    model_config = ConfigDict(frozen=True)

    part: str
    name: str
    path: str = Field(description="module:object; it can be imported once the plugin is loaded")
    summary: str = ""
    form: str = Field(
        "", description="of a normalizer: module or moments; of a network: norm or converted"
    )
    facts: Dict[str, Any] = Field(default_factory=dict)
    options: Dict[str, Dict[str, Any]] = Field(default_factory=dict)


def described_options(target: Callable[..., Any], given: Collection[str]) -> Dict[str, Schema]:
    """
    Return the JSON schema of each argument of *target* that a job may set.

    Args:
        target: a class or a function; bounds and texts come from
            `Annotated[float, pydantic.Field(gt=0, description="...")]`.
        given: the names of the arguments that normlab passes itself.

    Raises:
        InvalidSpec: an argument has no annotation, or a type that no form can show.
    """
    function: Any = _constructor(target) if inspect.isclass(target) else target
    parameters = list(inspect.signature(target).parameters.values())
    hints = get_type_hints(function, include_extras=True)
    own = [p for p in parameters if p.name not in given]
    return {p.name: _schema(target, p, hints.get(p.name)) for p in own}


def _constructor(target: type) -> Any:
    # of the class that defines the constructor, perhaps a parent
    found = next((c for c in target.__mro__[:-1] if "__init__" in vars(c)), None)
    return target if found is None else vars(found)["__init__"]


def _schema(target: Any, parameter: inspect.Parameter, hint: Any) -> Schema:
    where = f"{target.__name__}({parameter.name})"
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise InvalidSpec(
            f"{where}: options cannot come from * or **; write each one out, with its annotation"
        )
    if hint is None:
        raise InvalidSpec(
            f"{where}: an option needs an annotation, such as {parameter.name}: float = 0.5"
        )
    default = ... if parameter.default is parameter.empty else parameter.default
    field: Dict[str, Any] = {parameter.name: (hint, default)}
    try:
        model: Type[BaseModel] = create_model("Options", **field)
        whole: Dict[str, Any] = model.model_json_schema()
    except (PydanticSchemaGenerationError, TypeError, ValueError) as e:
        raise InvalidSpec(f"{where}: {hint} is not a type for an option; use {_ALLOWED}") from e
    schema = dict(whole["properties"][parameter.name])
    schema.pop("title", None)
    _type(schema, where)
    return {**schema, "required": parameter.name in whole.get("required", ())}


def fields(options: Mapping[str, Schema]) -> Fields:
    """Return the fields of a model with the options that *options* describes."""
    return {name: _field(name, schema) for name, schema in options.items()}


def _field(name: str, schema: Schema) -> Tuple[Any, Any]:
    branches = [b for b in schema.get("anyOf", [schema]) if b.get("type") != "null"]
    limits = {
        ours: branches[0][theirs] for theirs, ours in _LIMITS.items() if theirs in branches[0]
    }
    default = ... if schema.get("required") else schema.get("default")
    return _type(schema, name), Field(default, description=schema.get("description", ""), **limits)


def _type(schema: Schema, where: str) -> Any:
    branches: List[Schema] = list(schema.get("anyOf", [schema]))
    found = [_plain(branch, where) for branch in branches if branch.get("type") != "null"]
    if len(found) != 1:
        raise InvalidSpec(f"{where}: an option has one type, or Optional of one; use {_ALLOWED}")
    return Optional[found[0]] if len(branches) > 1 else found[0]


def _plain(schema: Schema, where: str) -> Any:
    values: Union[List[Any], None] = schema.get("enum")
    if "const" in schema:
        values = [schema["const"]]
    if values is not None:
        return Literal[tuple(values)]
    if schema.get("type") not in _TYPES:
        raise InvalidSpec(f"{where}: not a type for an option; use {_ALLOWED}")
    return _TYPES[schema["type"]]
