"""What `normlab study preview` prints."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, List

from normlab.cli.output import print_table
from normlab.counting import counted

if TYPE_CHECKING:
    from normlab.records import StudyPreview

_MOST_RULES = 10


def print_preview(found: StudyPreview) -> None:
    """Print what a study would run, and what is refused."""
    print_table(
        ["what", "value"],
        [
            ("cells", found.cells),
            ("excluded", found.excluded),
            ("duplicates of another cell", found.identical),
            ("already computed by other jobs", found.reusable),
            ("priority", found.priority),
            ("total epochs", found.epochs),
            ("total updates", found.steps),
            ("time, one after another", found.estimate),
            *_packs(found),
            *_cost_of_deciding(found),
        ],
    )
    for cell in found.first:
        if cell.reused:
            where = ", ".join(f"{k} = {v}" for k, v in cell.coordinates.items())
            print(f"reused: {where}, seed = {cell.seed}: job {cell.job}", file=sys.stderr)
    for rule in found.idle_rules[:_MOST_RULES]:
        print(f"warning: no cell matches the rule {json.dumps(rule)} of exclude", file=sys.stderr)
    if len(found.idle_rules) > _MOST_RULES:
        print(f"warning: {len(found.idle_rules)} such rules in all", file=sys.stderr)
    for refusal in found.refused:
        where = ", ".join(f"{k} = {v}" for k, v in refusal.coordinates.items())
        rules = "; ".join(f"{p['field']}: {p['rule']}" for p in refusal.problems)
        print(f"refused: {where}: {rules}", file=sys.stderr)
    if found.refused_cells > len(found.refused):
        print(f"refused: {counted(found.refused_cells, 'cell')} in all", file=sys.stderr)


def _packs(found: StudyPreview) -> List[Any]:
    apart = [
        (
            "trained alone" if each.alone else "in separate packs",
            f"{counted(each.cells, 'cell')} because of {each.field}: {each.rule}",
        )
        for each in found.pack_obstacles
    ]
    if not found.packs:
        return apart
    known = found.pack_gain is not None
    gain = f", about {found.pack_gain:g} times as fast" if known else "; gain not known yet"
    cells = f"{found.packed} of {found.packed + found.alone} cells"
    packs = counted(found.packs, "pack")
    return [("trained in packs", f"{cells}, in {packs}{gain}"), *apart]


def _cost_of_deciding(found: StudyPreview) -> List[Any]:
    cost = found.decision
    if cost is None:
        return []
    return [
        ("comparisons to decide", cost.comparisons),
        ("cells compared, at least", f"{cost.least_cells}: {cost.least_estimate}"),
        ("cells compared, at most", f"{cost.most_cells}: {cost.most_estimate}"),
        ("largest sd for this power", f"{cost.largest_sd:.2g}"),
    ]
