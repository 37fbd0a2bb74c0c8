"""Compare the packages that a plugin needs with those that an interpreter has."""

from __future__ import annotations

from typing import Dict, Iterable, List, Mapping, Sequence, Tuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from normlab.errors import InvalidSpec


def checked_needs(needs: Sequence[str]) -> Tuple[str, ...]:
    """
    Return *needs* as requirements in a standard form, without duplicates.

    Raises:
        InvalidSpec: one is not the name of a package with or without versions.
    """
    if isinstance(needs, str):
        raise InvalidSpec(f"needs={needs!r} is a string: write needs=({needs!r},)")
    return tuple(sorted({_checked(need) for need in needs}))


def unmet(needs: Iterable[str], packages: Mapping[str, str]) -> List[str]:
    """
    Return a message for each of *needs* that is not met, with the installed version.

    Args:
        needs: requirements as `checked_needs` returns them.
        packages: versions by name, with the version of Python as *python*.
    """
    there: Dict[str, str] = {canonicalize_name(name): version for name, version in packages.items()}
    return [told for need in needs for told in _unmet(Requirement(need), there)]


def _checked(need: str) -> str:
    way_out = 'write a package and its versions as pip reads them, such as "einops>=0.7"'
    try:
        found = Requirement(need)
    except (InvalidRequirement, TypeError) as e:
        raise InvalidSpec(f"needs has {need!r}, which is not a requirement; {way_out}") from e
    if found.url or found.extras or found.marker:
        raise InvalidSpec(
            f"needs has {need!r}: an address, extra or condition cannot be compared with what a "
            f"worker has; {way_out}"
        )
    return f"{canonicalize_name(found.name)}{found.specifier}"


def _unmet(need: Requirement, there: Dict[str, str]) -> List[str]:
    found = there.get(canonicalize_name(need.name))
    if found is None:
        return [f"{need} is not installed"]
    try:
        fits = need.specifier.contains(Version(found), prereleases=True)
    except InvalidVersion:  # a package that was built by hand
        fits = not need.specifier
    return [] if fits else [f"{need} is needed, and {found} is installed"]
