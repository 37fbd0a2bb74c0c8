"""Convert pydantic's validation errors to fields, rules and accepted values."""

from __future__ import annotations

import difflib
import re
from datetime import date
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Type, get_args

from pydantic import BaseModel

from normlab.errors import FieldProblem

MOST = 50
"""The largest number of problems that are listed."""

_PATTERNS: Mapping[str, str] = {
    r"^[a-z0-9][a-z0-9._-]*$": "must be small letters and digits, with . _ - after the first",
    r"^[A-Za-z0-9][A-Za-z0-9_.-]*$": "must be letters and digits, with . _ - after the first",
    r"^[0-9a-f]{64}$": "must be a SHA-256 in 64 hex digits",
    r"^[A-Za-z0-9_./-]+\.(npz|safetensors)$": "must be a .npz or .safetensors file, and its "
    "name may have only letters, digits and . _ / -",
    r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+){0,7}$": "must be a path of fields, such as optimizer.lr",
    r"^[^\s,\"'](?:[^,\"']*[^\s,\"'])?$": "must be text without commas, quotes and outer spaces",
}
"""What texts of a field's pattern are, in words; without them, the pattern itself is told."""
_TAGS = ("kind", "name")  # the fields that choose a member of a union
_WHAT = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen_set": "a list",
}
"""What a value must be, by the beginning of the type of pydantic's error."""
_WORDS = {"None": "null", "True": "true", "False": "false"}
_NO_OBJECT = ("model_type", "model_attributes_type", "dict_type")
_OF_A_TYPE = re.compile("(" + "|".join(_WHAT) + ")_(type|parsing|parsing_size|from_float)")
_SIZED = re.compile(r"^\w+ should have (.*) after validation, not (\d+)$")
_SHOULD = re.compile(r"^(Input|String|Data|URL) should ")


def explain(
    errors: Sequence[Mapping[str, Any]],
    value: Any,
    model: Optional[Type[BaseModel]] = None,
    at: str = "",
) -> List[FieldProblem]:
    """
    Return the problems with *value*, one for each of the first MOST of pydantic's *errors*.

    Args:
        errors: the result of `ValidationError.errors()`.
        value: the value that was validated.
        model: the model for *value*; its field names are suggested for unknown ones.
        at: the field that holds *value*, if it is a part of something larger.
    """
    return [_problem(error, value, model, at) for error in errors[:MOST]]


def _problem(
    error: Mapping[str, Any], value: Any, model: Optional[Type[BaseModel]], at: str
) -> FieldProblem:
    path, owner = _walk(tuple(error["loc"]), value, model)
    rule = rule_of(error)
    if error["type"] == "extra_forbidden" and owner is not None and path:
        rule = _unknown(str(path[-1]), sorted(owner.model_fields), model)
    if error["type"] in _NO_OBJECT and path:
        rule = f"must be an object, not {_short(error.get('input'))}{_its_fields(owner, path)}"
    parts = [at, *path] if at else path
    return FieldProblem(".".join(str(part) for part in parts) or "body", rule)


def rule_of(error: Mapping[str, Any]) -> str:
    """Return the rule that pydantic's error is about, with the value, in our own words."""
    message = str(error["msg"])
    if error["type"] == "value_error":
        return message[len("Value error, ") :]
    if error["type"] == "missing":
        return "this field is required"
    if error["type"] in _NO_OBJECT:
        return f"must be a JSON object, not {_short(error.get('input'))}"
    if error["type"] == "union_tag_not_found":
        return f"an object here needs {error['ctx']['discriminator']}, which says what it is"
    if error["type"] == "union_tag_invalid":
        ctx = error["ctx"]
        return f"{ctx['tag']!r} is unknown; use one of {ctx['expected_tags']}"
    if error["type"] in ("too_short", "too_long"):
        rule = _SIZED.sub(r"must have \1, not \2", message)
        # pydantic says "items" also of texts that other rules have read before
        return rule.replace(" item", " character") if isinstance(error["input"], str) else rule
    of_a_type = _OF_A_TYPE.fullmatch(error["type"])
    rule = f"must be {_WHAT[of_a_type[1]]}" if of_a_type else _SHOULD.sub("must ", message)
    rule = _PATTERNS.get(error.get("ctx", {}).get("pattern"), rule)
    given = error.get("input")
    way_out = f": write [{given}]" if rule == "must be a list" and _is_word(given) else ""
    return f"{rule}, not {_short(given)}{way_out}"


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[\w./-]{1,60}", value) is not None


def _its_fields(owner: Optional[Type[BaseModel]], path: Sequence[Any]) -> str:
    """Name the fields of the object at *path*, a field of *owner*; nothing if it has none."""
    models = [] if owner is None else _models_of(owner, path[-1])
    at = ".".join(map(str, path))
    names = [f"{at}.{name}" for name in models[0].model_fields] if len(models) == 1 else []
    return f"; its fields are {', '.join(names)}" if names else ""


def _short(value: Any) -> str:
    if isinstance(value, (dict, list, tuple)):
        return "an object" if isinstance(value, dict) else "a list"
    # YAML makes a date of it; people know it as they wrote it
    plain = value.isoformat() if isinstance(value, date) else _WORDS.get(repr(value), repr(value))
    text = plain.encode("ascii", "backslashreplace").decode()
    return text if len(text) <= 60 else text[:57] + "..."


def _unknown(name: str, known: Sequence[str], model: Optional[Type[BaseModel]]) -> str:
    near = difflib.get_close_matches(name, known, n=1) or _elsewhere(name, model)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return f"unknown field; {hint}known are {', '.join(known)}"


def _elsewhere(name: str, model: Optional[Type[BaseModel]]) -> List[str]:
    """List the dotted fields that end in *name*: `optimizer.lr` for `lr`."""
    names = dict.fromkeys(field_names(model)) if model else {}
    return [dotted for dotted in names if dotted.endswith(f".{name}")]


def field_names(model: Type[BaseModel], prefix: str = "") -> Iterator[str]:
    """List the dotted names of a spec's fields; those of a field with several kinds repeat."""
    for name in model.model_fields:
        yield prefix + name
        for inner in _models_of(model, name):
            yield from field_names(inner, f"{prefix}{name}.")


def field_words(model: Type[BaseModel], dotted: str) -> Iterator[str]:
    """List the values of the field *dotted* of a spec, if they are a few words."""
    name, dot, rest = dotted.partition(".")
    for inner in _models_of(model, name):
        if dot:
            yield from field_words(inner, rest)
        else:
            yield from (tag for tag in _tags_of(inner) if isinstance(tag, str))
    if not dot and name in model.model_fields:
        yield from _words_of(model.model_fields[name].annotation)


def _words_of(annotation: Any) -> Iterator[str]:
    if annotation is bool:
        yield from ("true", "false")
    for argument in get_args(annotation):
        if isinstance(argument, str):
            yield argument
        else:
            yield from _words_of(argument)


def _walk(
    loc: Tuple[Any, ...], value: Any, model: Optional[Type[BaseModel]]
) -> Tuple[List[Any], Optional[Type[BaseModel]]]:
    # pydantic puts the tag of a chosen union member into the path; people do not write it there
    path: List[Any] = []
    candidates = [model] if model else []
    for i, part in enumerate(loc):
        if _is_tag(part, value, candidates, last=i == len(loc) - 1):
            candidates = [c for c in candidates if part in _tags_of(c)]
            continue
        if isinstance(part, int) and isinstance(value, Mapping):
            continue  # an object that is short for a list, so people do not write an index
        path.append(part)
        if i < len(loc) - 1:
            value = _child(value, part)
            if not isinstance(part, int):  # the type of a list's items is the type of its field
                candidates = [m for c in candidates for m in _models_of(c, part, value)]
            if not isinstance(value, list):
                candidates = _chosen(candidates, value)
    return path, candidates[0] if len(candidates) == 1 else None


def _chosen(models: List[Type[BaseModel]], value: Any) -> List[Type[BaseModel]]:
    """Keep those of *models* whose kind *value* names; all if it names none of them."""
    named = [value.get(tag) for tag in _TAGS] if isinstance(value, Mapping) else [value]
    named = [name for name in named if isinstance(name, str)]
    return [m for m in models if any(name in _tags_of(m) for name in named)] or models


def _is_tag(part: Any, value: Any, models: Sequence[Type[BaseModel]], last: bool) -> bool:
    if isinstance(value, Mapping):
        chosen = part in [value.get(tag) for tag in _TAGS if isinstance(value.get(tag), str)]
        # without a name, the default member is used
        implied = len(models) > 1 and any(part in _tags_of(model) for model in models)
        return (chosen or implied) and not (last and part in value)
    return isinstance(value, str) and part == value


def _child(value: Any, part: Any) -> Any:
    try:
        return value[part]
    except (KeyError, IndexError, TypeError):
        return None


def _tags_of(model: Type[BaseModel]) -> List[Any]:
    return [model.model_fields[tag].default for tag in _TAGS if tag in model.model_fields]


def _models_of(model: Type[BaseModel], field: Any, value: Any = None) -> List[Type[BaseModel]]:
    fields: Dict[str, Any] = dict(model.model_fields)
    if field not in fields:
        return []
    registered = [m for m in fields[field].metadata if hasattr(m, "members")]
    if registered:
        return list(registered[0].members(value))
    return list(_models_in(fields[field].annotation))


def _models_in(annotation: Any) -> Iterator[Type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    registered = [m for m in getattr(annotation, "__metadata__", ()) if hasattr(m, "members")]
    if registered:
        yield from registered[0].members()
        return
    for argument in get_args(annotation):
        yield from _models_in(argument)
