"""Frames whose job ids stay on one line in a notebook."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    import pandas as pd

_ID = re.compile(r"<(t[dh])>([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})</\1>")


def with_whole_ids(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep each job's id in the HTML of *frame* on one line; browsers break it at its hyphens."""
    plain = frame._repr_html_

    def html() -> Optional[str]:
        found = plain()
        return found and _ID.sub(r'<\1 style="white-space: nowrap">\2</\1>', found)

    frame._repr_html_ = html  # not a class of our own, which pickles of frames would need
    return frame
