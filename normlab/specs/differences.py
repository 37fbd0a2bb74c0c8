"""The fields in which specifications differ."""

from __future__ import annotations

from typing import Any, Collection, Dict, Iterator, List, Mapping, Sequence, Tuple


def differing(
    specs: Sequence[Mapping[str, Any]], whole: Collection[str] = ()
) -> Dict[str, List[Any]]:
    """
    Return each path at which *specs* differ, with the value of each spec; None if it has none.

    Args:
        specs: specifications as plain data.
        whole: paths that count as one value although they have fields.
    """
    flat = [dict(_flat(spec, whole)) for spec in specs]
    paths = dict.fromkeys(path for fields in flat for path in fields)
    values = {path: [fields.get(path) for fields in flat] for path in paths}
    return {path: found for path, found in values.items() if len(set(map(repr, found))) > 1}


def _flat(
    fields: Mapping[str, Any], whole: Collection[str], above: str = ""
) -> Iterator[Tuple[str, Any]]:
    for name, value in fields.items():
        path = f"{above}{name}"
        if isinstance(value, dict) and path not in whole:
            yield from _flat(value, whole, f"{path}.")
        else:
            yield path, value
