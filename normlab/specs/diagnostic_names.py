"""Read a metric's name as what a diagnostic measured, and where: its measure and its layer."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import List, NamedTuple, Optional, Pattern, Tuple

from normlab.specs.diagnostics import DIAGNOSTICS

_PLACE = re.compile(r"\(SITE\|all\)|SITE|LAYER")
_IN_WORDS = re.compile(r"[,:] ")  # "..., and the curves as a record"


class Measured(NamedTuple):
    """
    What a metric is.

    Attributes:
        diagnostic: the name of the diagnostic that reported it.
        measure: its name without group and layer, such as `norm/channel_mean`; empty where the
            diagnostic has one measure.
        site: the layer's name in the model; empty for the whole network.
    """

    diagnostic: str
    measure: str
    site: str


def measured(metric: str) -> Optional[Measured]:
    """Return what *metric* is; None for a metric of no diagnostic of normlab's own."""
    for diagnostic, pattern in _patterns():
        found = pattern.fullmatch(metric)
        if found is not None:
            parts = found.groupdict()
            return Measured(diagnostic, parts["measure"] or "", parts.get("site") or "")
    return None


@lru_cache(1)
def _patterns() -> List[Tuple[str, Pattern[str]]]:
    own = DIAGNOSTICS.own.values()
    return [(facts.name, _pattern(facts.metrics)) for facts in own if "/" in facts.metrics]


def _pattern(metrics: str) -> Pattern[str]:
    """Return the expression for names such as `power/SITE/(norm|out)/total`."""
    name = _IN_WORDS.split(metrics)[0]
    group, _, rest = name.partition("/")
    place, _, measure = rest.partition("/")
    if not _PLACE.fullmatch(place):
        return re.compile(rf"{group}/(?P<measure>{_sized(rest)})")
    below = f"/(?P<measure>{measure})" if measure else "(?P<measure>)"
    return re.compile(rf"{group}/(?P<site>[^/]+){below}")


def _sized(measure: str) -> str:
    return measure.replace("rise_M", r"rise_\d+")
