"""Write the results of claims into a page: their pictures, and a section for each."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Sequence

if TYPE_CHECKING:
    from normlab.claims.verdicts import ClaimVerdict


def write_page(client: Any, verdicts: Sequence[ClaimVerdict], page: Path) -> None:
    """Put *verdicts* on *page*; sections on other claims stay if those have not changed."""
    from normlab.claims import page as pages
    from normlab.claims.loading import load_claims
    from normlab.claims.runs import how_it_ran

    folder = page.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    _draw(client, verdicts, folder)
    told = (replace(v, ran=how_it_ran(v, client)) for v in verdicts)
    new = {v.claim.key: pages.entry(v, folder.name) for v in told}
    known = load_claims()
    before = page.read_text(encoding="utf-8") if page.is_file() else ""
    found = {**pages.kept(before, known), **new}
    entries = [found[key] for key in known if key in found]
    lacking = [claim for key, claim in known.items() if key not in found]
    page.write_text(pages.page(entries, lacking, folder.name), encoding="utf-8")
    print(f"wrote {page}", file=sys.stderr)


def _draw(client: Any, verdicts: Sequence[ClaimVerdict], folder: Path) -> None:
    from normlab.claims.pictures import draw_claim
    from normlab.errors import InvalidSpec

    for verdict in verdicts:
        try:
            draw_claim(verdict, client, folder / f"{verdict.claim.key}.png")
        except InvalidSpec as e:
            print(f"no plot of {verdict.claim.key}: {e}", file=sys.stderr)
