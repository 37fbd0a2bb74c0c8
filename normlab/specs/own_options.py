"""The options of a named part of a job, such as a network: checked, and with their defaults."""

from __future__ import annotations

import difflib
from typing import Any, Dict, Mapping, Type

from normlab.specs.base import Spec


def checked_options(options: Type[Spec], who: str, given: Mapping[str, Any]) -> Dict[str, Any]:
    """
    Return *given* with the defaults of what it leaves out.

    Raises:
        ValueError: *who* has no such option, where its options are known, or a value is out of
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
