"""The specifications from which the forms can start: the recipes and the claims of normlab."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import normlab
from normlab.claims.claim import Claim
from normlab.claims.loading import load_claims
from normlab.errors import NotFound
from normlab.specs.jobs import JobSpec
from normlab.specs.written import parse

# in a checkout, and in an installed package
_FOLDERS = (Path(__file__).parents[1] / "recipes", Path(normlab.__file__).parent / "recipes")


@cache
def recipes() -> dict[str, str]:
    """Return the text of each recipe by its name."""
    found = (path for folder in _FOLDERS for path in sorted(folder.glob("*.yaml")))
    return {path.stem: path.read_text(encoding="utf-8") for path in found}


def recipe(name: str) -> dict[str, Any]:
    """Return the whole specification of a recipe; raise NotFound if there is none of this name."""
    text = recipes().get(name)
    if text is None:
        raise NotFound(f"there is no recipe {name!r}; there are {', '.join(recipes())}")
    return JobSpec.model_validate(parse(text, name)).model_dump(mode="json")


def claims() -> dict[str, str]:
    """Return the title of each claim by its key."""
    return {key: claim.title for key, claim in _claims().items()}


@cache
def _claims() -> dict[str, Claim]:
    return load_claims()


def study_of(*, claim: str | None, recipe_name: str | None) -> dict[str, Any] | None:
    """
    Return the study that a form starts from: that of a claim, or one whose base is a recipe.

    Raises:
        NotFound: there is none of this name.
    """
    if claim:
        if claim not in _claims():
            raise NotFound(f"there is no claim {claim!r}; there are {', '.join(_claims())}")
        return _claims()[claim].study.model_dump(mode="json", exclude_defaults=True)
    if recipe_name:
        axes = [{"normalizer": ["batch", "group"]}]
        return {"name": recipe_name, "base": recipe(recipe_name), "axes": axes, "seeds": [0, 1]}
    return None
