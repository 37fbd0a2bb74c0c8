"""Apply the exclusion rules of a grid to combinations, with one look-up for all rules."""

from __future__ import annotations

import copy
import difflib
from typing import Any, Dict, Hashable, Iterator, List, Mapping, Sequence

from normlab.errors import FieldProblem

Rule = Mapping[str, Any]


class Exclusions:
    """
    Many rules as one table: for each path, the rules that each value satisfies.

    A set of rules is an integer with one bit for each rule. A combination is left out if some rule
    is satisfied at every path, so the sets at all paths have a bit in common: one look-up for each
    path, for any number of rules.

    Args:
        rules: each maps paths to a value or a list of values; a name may stand for an object,
            and a list for the value of a field that is a list, such as augmentations.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._every = (1 << len(rules)) - 1
        self._matched = 0
        self._by_value: Dict[str, Dict[Hashable, int]] = {}
        self._free: Dict[str, int] = {}  # for each path, the rules that do not name it
        for i, rule in enumerate(rules):
            for path, wanted in rule.items():
                values = self._by_value.setdefault(path, {})
                self._free[path] = self._free.get(path, self._every) & ~(1 << i)
                # a list is some values, or the one value of a field that is itself a list
                for value in [*wanted, wanted] if isinstance(wanted, list) else [wanted]:
                    key = _key(path, value)
                    values[key] = values.get(key, 0) | 1 << i

    def leave_out(self, coordinates: Mapping[str, Any]) -> bool:
        """Return whether a rule matches the combination at *coordinates*."""
        satisfied = self._every
        raw: Dict[str, Any] = {}
        for path, value in coordinates.items() if satisfied else ():
            put(raw, path, copy.deepcopy(value) if isinstance(value, dict) else value)
        for path, values in self._by_value.items():
            value = _at(raw, path)
            forms = [_key(path, form) for form in (value, _other(path, value))]
            found = values.get(forms[0], 0) | values.get(forms[1], 0)
            satisfied &= found | self._free[path]
            if not satisfied:
                return False
        self._matched |= satisfied
        return satisfied != 0

    @property
    def idle(self) -> List[Rule]:
        """The rules that have matched none of the combinations so far."""
        return [rule for i, rule in enumerate(self._rules) if not self._matched >> i & 1]


def problems_of(rules: Sequence[Rule], paths: Sequence[str]) -> Iterator[FieldProblem]:
    """Yield the fields in *rules* that no combination of *paths* sets, so that none can match."""
    for i, rule in enumerate(rules):
        for path in rule:
            if not any(_within(path, one) or _within(one, path) for one in paths):
                yield FieldProblem(f"exclude.{i}.{path}", _why_never(path, paths))


def _why_never(path: str, paths: Sequence[str]) -> str:
    if path == "seed":
        return "a rule leaves out all seeds of a combination; name the seeds to run in `seeds`"
    near = difflib.get_close_matches(path, paths, n=3, cutoff=0.3) or list(paths[:3])
    other = f"; the nearest axes are {', '.join(near)}" if near else ", which has no axes"
    return f"{path!r} is no axis of the study, so that the rule matches no cell{other}"


def _within(path: str, other: str) -> bool:
    return path == other or path.startswith(f"{other}.")


_NAMED = ("model", "dataset", "optimizer", "schedule", "loss")
SHORT_FOR = {"normalizer": "kind", "init_from": "from", **dict.fromkeys(_NAMED, "name")}
"""For each field that may be a bare text, the field of an object for which it stands."""
_LISTS_OF_NAMED = ("augmentations", "metrics", "hooks")


def put(raw: Dict[str, Any], path: str, value: Any) -> None:
    """Set the field at the dotted *path* of *raw*, creating missing objects on the way."""
    *parents, last = path.split(".")
    for part in parents:
        child = raw.get(part)
        if isinstance(child, str):  # "group" is short for {"kind": "group"}
            child = _spelled_out(part, child)
        raw[part] = child = child if isinstance(child, dict) else {}
        raw = child
    raw[last] = value


def _at(raw: Any, path: str) -> Any:
    above = ""
    for part in path.split("."):
        raw = _spelled_out(above, raw) if isinstance(raw, str) else raw
        raw = raw.get(part) if isinstance(raw, dict) else None
        above = part
    return raw


def _other(path: str, value: Any) -> Any:
    """Return the other form of *value*: the name of an object, or the object of a name."""
    if isinstance(value, dict):
        return value.get(SHORT_FOR.get(path), value)
    return _spelled_out(path, value) if path in SHORT_FOR and isinstance(value, str) else value


def _spelled_out(field: str, text: str) -> Dict[str, Any]:
    return {SHORT_FOR.get(field, "name"): text}


def _key(path: str, value: Any) -> Hashable:
    if path in _LISTS_OF_NAMED and isinstance(value, (list, tuple)):
        value = [_spelled_out(path, one) if isinstance(one, str) else one for one in value]
    return _hashable(value)


def _hashable(value: Any) -> Hashable:
    # Equal values have equal keys: 1 and 1.0 are equal, 1 and True are not.
    if isinstance(value, dict):
        return frozenset((key, _hashable(inner)) for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        parts: List[Hashable] = [_hashable(inner) for inner in value]
        return ("list", *parts)
    return ("bool", value) if isinstance(value, bool) else value
