"""Read the claims from the files in studies/."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Union

import yaml
from pydantic import ValidationError

from normlab.claims.claim import Claim
from normlab.errors import InvalidSpec, NotFound
from normlab.specs.written import value_of

# beside the package in a checkout, inside it in a wheel
_FOLDERS = (Path(__file__).parents[2] / "studies", Path(__file__).parents[1] / "studies")


def load_claims(folder: Union[Path, None] = None) -> Dict[str, Claim]:
    """
    Read every claim, in the order of their file names.

    Raises:
        InvalidSpec: a file is not a claim; the message names it.
    """
    found = folder or next((f for f in _FOLDERS if f.is_dir()), None)
    if found is None:
        raise InvalidSpec("the folder of claims, studies/, is missing; install normlab again")
    claims = [_load(path) for path in sorted(found.glob("*.yaml"))]
    return {claim.key: claim for claim in claims}


def find_claim(key: str) -> Claim:
    """Return the claim *key*, or the only one whose key begins with it; else raise NotFound."""
    claims = load_claims()
    matches: List[Claim] = [c for k, c in claims.items() if k == key or k.startswith(f"{key}-")]
    if len(matches) != 1:
        raise NotFound(f"there is no claim {key!r}; `normlab reproduce --list` has all")
    return matches[0]


def _load(path: Path) -> Claim:
    try:
        return Claim.model_validate(value_of(path.read_text(encoding="utf-8")))
    except (ValidationError, yaml.YAMLError) as e:
        raise InvalidSpec(f"{path.name} is not a claim: {e}") from e
